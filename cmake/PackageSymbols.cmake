# Run by cpack when all packages are there: makes proper Debian packages of the debug symbols. CPack
# leaves them without documents and with checksums of paths in the build tree.
foreach(package IN LISTS CPACK_PACKAGE_FILES)
  if(NOT package MATCHES "\\.ddeb$")
    continue()
  endif()
  cmake_path(GET package FILENAME name)
  string(REGEX REPLACE "-dbgsym_.*$" "" of "${name}")
  set(root "${CPACK_TEMPORARY_DIRECTORY}/symbols/${name}")
  file(REMOVE_RECURSE "${root}")
  file(MAKE_DIRECTORY "${CPACK_TEMPORARY_DIRECTORY}/symbols")
  execute_process(COMMAND dpkg-deb -R "${package}" "${root}" COMMAND_ERROR_IS_FATAL ANY)

  file(MAKE_DIRECTORY "${root}/usr/share/doc")
  file(CREATE_LINK "${of}" "${root}/usr/share/doc/${of}-dbgsym" SYMBOLIC)
  file(GLOB_RECURSE files RELATIVE "${root}" "${root}/usr/lib/*")
  list(SORT files)
  set(sums)
  foreach(file IN LISTS files)
    file(MD5 "${root}/${file}" sum)
    string(APPEND sums "${sum}  ${file}\n")
  endforeach()
  file(WRITE "${root}/DEBIAN/md5sums" "${sums}")

  execute_process(COMMAND dpkg-deb --root-owner-group -Z${CPACK_DEBIAN_COMPRESSION_TYPE}
    -b "${root}" "${package}" OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endforeach()
