# Run at build time: manual pages and completions from the executable EPP, and what must be
# compressed, into DIR.
file(REMOVE_RECURSE "${DIR}/man" "${DIR}/completion")
file(MAKE_DIRECTORY "${DIR}/pages" "${DIR}/completion")
file(GLOB old "${DIR}/pages/*")
if(old)
  file(REMOVE ${old})
endif()

function(run_into output)
  execute_process(COMMAND ${ARGN} OUTPUT_FILE "${output}" COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(compress input output)
  run_into("${output}" gzip -9nc "${input}")
endfunction()

run_into("${DIR}/completion/epp" "${EPP}" completion bash)
run_into("${DIR}/completion/_epp" "${EPP}" completion zsh)
run_into("${DIR}/completion/epp.fish" "${EPP}" completion fish)

execute_process(COMMAND "${EPP}" man --dir "${DIR}/pages" COMMAND_ERROR_IS_FATAL ANY)
file(GLOB pages RELATIVE "${DIR}/pages" "${DIR}/pages/*")
foreach(page IN LISTS pages)
  string(REGEX MATCH "[0-9]$" section "${page}")
  file(MAKE_DIRECTORY "${DIR}/man/man${section}")
  compress("${DIR}/pages/${page}" "${DIR}/man/man${section}/${page}.gz")
endforeach()

compress("${DEPLOY}/debian/changelog" "${DIR}/changelog.gz")
foreach(page IN ITEMS epp-sim.1 epp-plugin-check.1)
  compress("${DEPLOY}/debian/${page}" "${DIR}/${page}.gz")
endforeach()
