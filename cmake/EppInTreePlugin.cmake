# The shipped plugins, without their tests.
add_custom_target(epp_plugins)

# epp_in_tree_plugin(<name> [SOURCES <file>...] [TESTS <file>...] [LINK <target>...])
#
# epp_add_plugin plus what our own plugins share: warnings, the install rule, and a test executable
# NAME_plugin_test made of the same sources and the plugin's tests (CTest labels plugin and unit).
# SOURCES defaults to plugin.cc, TESTS to plugin_test.cc.
function(epp_in_tree_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;TESTS;LINK")
  if(NOT arg_SOURCES)
    set(arg_SOURCES plugin.cc)
  endif()
  if(NOT arg_TESTS)
    set(arg_TESTS plugin_test.cc)
  endif()
  epp_add_plugin(${name} SOURCES ${arg_SOURCES} LINK ${arg_LINK} epp_warnings)
  add_dependencies(epp_plugins ${name})
  # The executable looks in ../lib/epp/plugins, on every distribution.
  install(TARGETS ${name} LIBRARY DESTINATION lib/epp/plugins COMPONENT epp)
  install(FILES plugin.toml DESTINATION lib/epp/plugins RENAME ${name}.toml COMPONENT epp)
  if(EPP_SANITIZE MATCHES "thread")
    # Of no interest to it: a plugin whose code and tests start no thread.
    set(threads)
    foreach(file IN LISTS arg_SOURCES arg_TESTS)
      file(STRINGS "${file}" found REGEX "std::j?thread" LIMIT_COUNT 1)
      list(APPEND threads ${found})
    endforeach()
    if(NOT threads)
      return()
    endif()
  endif()
  epp_add_test(${name}_plugin_test SOURCES ${arg_SOURCES} ${arg_TESTS} LINK epp::sdk ${arg_LINK}
    LABELS plugin unit)
endfunction()
