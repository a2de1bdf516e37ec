include(GoogleTest)

# Every GoogleTest executable; what needs no benchmark and no fuzzer.
add_custom_target(epp_tests)

# epp_add_test(<name> [NO_THREADS] SOURCES <file>... [LINK <target>...] [LABELS <label>...] [ENV <VAR=value>])
#
# A GoogleTest executable whose cases become CTest tests named "<name>.<Suite>.<Case>".
# LABELS defaults to "unit". NO_THREADS: one thread does everything, so that the thread sanitizer has
# nothing to find; its build leaves the test out.
function(epp_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_THREADS" "ENV" "SOURCES;LINK;LABELS")
  if(NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "epp_add_test(${name}): needs SOURCES, got '${ARGN}'")
  endif()
  if(NOT BUILD_TESTING)
    return()
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(EPP_SANITIZE MATCHES "thread" AND NOT arg_ENV)
    # Debian's libraries are not instrumented; see EppGrpcStatic.
    set(arg_ENV "TSAN_OPTIONS=ignore_noninstrumented_modules=1")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} epp_warnings GTest::gmock GTest::gtest GTest::gtest_main)
  if(arg_NO_THREADS AND EPP_SANITIZE MATCHES "thread")
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
    return()
  endif()
  add_dependencies(epp_tests ${name})
  if(EPP_SANITIZE MATCHES "undefined")
    # The checks make GCC slow on GoogleTest code: 17 s a file when optimised, 10 s when not, 7 s
    # without those of undefined behaviour, which what is tested keeps.
    target_compile_options(${name} PRIVATE -O0)
    list(FILTER arg_SOURCES INCLUDE REGEX "_test\\.cc$")
    set_property(SOURCE ${arg_SOURCES} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=undefined)
  endif()
  # LTO buys a test nothing and costs a link of minutes.
  set_target_properties(${name} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "${arg_LABELS}" ENVIRONMENT "${arg_ENV}" TIMEOUT 120)
endfunction()
