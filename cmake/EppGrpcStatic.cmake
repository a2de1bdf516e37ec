# Links gRPC and Abseil statically.
#
# Debian ships both forms of these libraries, but its CMake packages describe only the shared ones.
# This file points the imported targets at the archives instead. It does so for all of them, because
# an executable that links some of Abseil as a shared library and the rest from an archive (as part
# of libgrpc.a) would have two copies of its globals. Debian's archives cannot go into a shared
# object (Abseil's are not PIC): plugins link none of them.
#
#   epp_grpc_static   gRPC C++ and Protobuf with all that they need, for executables

function(epp_use_static_archive target)
  if(NOT TARGET ${target})
    return()
  endif()
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY" OR type STREQUAL "EXECUTABLE")
    return()
  endif()
  get_target_property(configs ${target} IMPORTED_CONFIGURATIONS)
  if(NOT configs)
    return()
  endif()
  foreach(config IN LISTS configs)
    get_target_property(location ${target} IMPORTED_LOCATION_${config})
    string(REGEX REPLACE "\\.so(\\.[0-9.]+)?$" ".a" archive "${location}")
    if(EXISTS "${archive}")
      set_target_properties(${target} PROPERTIES
        IMPORTED_LOCATION_${config} "${archive}"
        IMPORTED_SONAME_${config} "" IMPORTED_NO_SONAME_${config} TRUE)
    endif()
  endforeach()
endfunction()

add_library(epp_grpc_static INTERFACE)
target_link_libraries(epp_grpc_static INTERFACE gRPC::grpc++ protobuf::libprotobuf)

if(EPP_SANITIZE MATCHES "thread")
  # These libraries are not instrumented. As shared objects the sanitizer can leave them out
  # (TSAN_OPTIONS=ignore_noninstrumented_modules=1, set for every test by epp_add_test); in the
  # executable it would report each of their locks that it does not know as a race.
  set_target_properties(protobuf::libprotobuf PROPERTIES
    IMPORTED_LOCATION "/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/libprotobuf.so")
  # With this macro Protobuf's headers give map fields two more members than the library has.
  target_compile_options(epp_grpc_static INTERFACE -U__SANITIZE_THREAD__)
  return()
endif()

get_property(epp_imported DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS epp_imported)
  if(target MATCHES "^(gRPC|absl)::")
    epp_use_static_archive(${target})
  endif()
endforeach()
