# Compiler options of our own targets. Everything of ours links epp_warnings privately; nothing
# here is exported to users of the SDK.

find_program(EPP_CCACHE ccache)
if(EPP_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${EPP_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${EPP_CCACHE}")
endif()

add_library(epp_warnings INTERFACE)
target_compile_options(epp_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wno-error=deprecated-declarations
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>)

if(EPP_SANITIZE)
  add_compile_options(-fsanitize=${EPP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${EPP_SANITIZE})
  if(EPP_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC warns of every atomic fence in Boost.Asio; the code around them is not ours.
    add_compile_options(-Wno-tsan)
  endif()
endif()
if(EPP_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
