# epp_add_plugin(<name> SOURCES <file>... [LINK <target>...])
#
# Builds NAME.so the one way that the host accepts: a single exported symbol, no undefined symbols,
# everything bound at load. The file's name is the module's name in EPP_LIBRARY. In a project of
# your own it lands in the current binary directory, unless EPP_PLUGIN_OUTPUT_DIRECTORY is set.
# A plugin.toml beside the sources is copied there as NAME.toml; a host wants both in one folder.
function(epp_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
  if(NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "epp_add_plugin(${name}): needs SOURCES, got '${ARGN}'")
  endif()

  get_target_property(map epp::sdk EPP_VERSION_SCRIPT)
  add_library(${name} MODULE ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE epp::sdk ${arg_LINK})
  if(CMAKE_CXX_COMPILER_LOADED)
    target_compile_features(${name} PRIVATE cxx_std_20)
  endif()
  target_compile_options(${name} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti>
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)
  target_link_options(${name} PRIVATE
    "LINKER:--version-script=${map}" "LINKER:-z,now" "LINKER:-z,noexecstack" "LINKER:-z,relro"
    "LINKER:--build-id")
  # A sanitizer's runtime lives in the executable, so its symbols are undefined here.
  if(NOT EPP_SANITIZE)
    target_link_options(${name} PRIVATE "LINKER:-z,defs")
  endif()
  set_target_properties(${name} PROPERTIES
    PREFIX ""
    C_VISIBILITY_PRESET hidden
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS "${map}")

  if(EPP_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(${name} PROPERTIES
      LIBRARY_OUTPUT_DIRECTORY "${EPP_PLUGIN_OUTPUT_DIRECTORY}")
    set(output "${EPP_PLUGIN_OUTPUT_DIRECTORY}")
  else()
    set(output "${CMAKE_CURRENT_BINARY_DIR}")
  endif()
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/plugin.toml")
    configure_file("${CMAKE_CURRENT_SOURCE_DIR}/plugin.toml" "${output}/${name}.toml" COPYONLY)
  endif()
endfunction()
