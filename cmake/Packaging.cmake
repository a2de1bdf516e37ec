# Debian packages: cmake --build build/release --target deb
#
#   epp       the executable, its plugins, configuration, unit, completions, manual
#   epp-sdk   what building a plugin takes
#   epp-sim   the simulator
#   and the debug symbols of each that has an executable, NAME-dbgsym
#
# The same tree gives the same bytes: every time in a package is that of the changelog.

set(deploy "${PROJECT_SOURCE_DIR}/deploy")
set(package_dir "${CMAKE_BINARY_DIR}/package")

file(STRINGS "${deploy}/debian/changelog" changelog_head LIMIT_COUNT 1)
if(NOT changelog_head MATCHES "^epp \\(${PROJECT_VERSION}\\) ")
  message(FATAL_ERROR "deploy/debian/changelog is about \"${changelog_head}\", "
    "the project about ${PROJECT_VERSION}")
endif()
set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
  "${deploy}/debian/changelog" "${deploy}/epp.example.toml")

# The example of a settings file, with the places that a package has.
file(READ "${deploy}/epp.example.toml" settings)
string(REPLACE "Every key is shown at its default." "Every key is shown, most at their defaults."
  settings "${settings}")
function(epp_packaged_setting key value)
  string(REGEX MATCHALL "\n${key} = [^\n]*" found "${settings}")
  list(LENGTH found count)
  if(NOT count EQUAL 1)
    message(FATAL_ERROR "deploy/epp.example.toml has ${count} keys \"${key}\", want 1")
  endif()
  string(REGEX REPLACE "\n${key} = [^\n]*" "\n${key} = ${value}" settings "${settings}")
  set(settings "${settings}" PARENT_SCOPE)
endfunction()
epp_packaged_setting(file "\"/etc/epp/config.yaml\"")
epp_packaged_setting(dirs "[\"/usr/lib/epp/plugins\", \"/etc/epp/plugins\"]")
epp_packaged_setting(runtime_dir "\"/var/cache/epp/modules\"")
epp_packaged_setting(socket_group "\"epp\"")
if(settings MATCHES "\nstate_dir = ")
  epp_packaged_setting(state_dir "\"/var/lib/epp\"")
endif()
file(CONFIGURE OUTPUT "${package_dir}/epp.toml" CONTENT "${settings}" @ONLY)

# What the executable says about itself, and compressed texts.
add_custom_command(
  OUTPUT "${package_dir}/stamp"
  COMMAND "${CMAKE_COMMAND}" -DEPP=$<TARGET_FILE:epp> "-DDIR=${package_dir}" "-DDEPLOY=${deploy}"
    -P "${PROJECT_SOURCE_DIR}/cmake/PackageFiles.cmake"
  COMMAND "${CMAKE_COMMAND}" -E touch "${package_dir}/stamp"
  DEPENDS epp epp_plugins "${deploy}/debian/changelog" "${deploy}/debian/epp-sim.1"
    "${deploy}/debian/epp-plugin-check.1"
    "${PROJECT_SOURCE_DIR}/cmake/PackageFiles.cmake"
  COMMENT "Writing manual pages and completions"
  VERBATIM)
add_custom_target(epp_package_files DEPENDS "${package_dir}/stamp")

# Absolute places, which no other installation wants: a component of its own in the group epp.
set(system COMPONENT epp-system EXCLUDE_FROM_ALL)
install(FILES "${package_dir}/epp.toml" "${deploy}/debian/config.yaml"
  "${deploy}/debian/endpoints.yaml" DESTINATION /etc/epp ${system})
install(DIRECTORY DESTINATION /etc/epp/plugins ${system})
install(FILES "${deploy}/systemd/epp.service" DESTINATION /lib/systemd/system ${system})
install(FILES "${deploy}/systemd/sysusers.conf" DESTINATION /usr/lib/sysusers.d RENAME epp.conf
  ${system})
install(FILES "${package_dir}/completion/epp"
  DESTINATION /usr/share/bash-completion/completions ${system})
install(FILES "${package_dir}/completion/_epp" DESTINATION /usr/share/zsh/vendor-completions
  ${system})
install(FILES "${package_dir}/completion/epp.fish"
  DESTINATION /usr/share/fish/vendor_completions.d ${system})
install(DIRECTORY "${package_dir}/man/" DESTINATION /usr/share/man ${system})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/profiles" DESTINATION /usr/share/epp ${system})

set(sim COMPONENT sim EXCLUDE_FROM_ALL)
install(FILES "${package_dir}/epp-sim.1.gz" DESTINATION /usr/share/man/man1 ${sim})

set(sdk COMPONENT sdk EXCLUDE_FROM_ALL)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/sdk/examples" DESTINATION /usr/share/doc/epp-sdk ${sdk}
  PATTERN build EXCLUDE PATTERN target EXCLUDE PATTERN __pycache__ EXCLUDE PATTERN .gitignore EXCLUDE)
install(FILES "${PROJECT_SOURCE_DIR}/sdk/README.md" DESTINATION /usr/share/doc/epp-sdk ${sdk})
install(FILES "${deploy}/debian/epp-sdk.lintian" DESTINATION /usr/share/lintian/overrides
  RENAME epp-sdk ${sdk})
set(sdk_architecture all)
set(sdk_executables)
if(TARGET epp-plugin-check)
  set(sdk_executables epp-plugin-check)
  set(sdk_architecture)
  install(FILES "${package_dir}/epp-plugin-check.1.gz" DESTINATION /usr/share/man/man1 ${sdk})
endif()

foreach(pair IN ITEMS "epp:epp-system" "epp-sdk:sdk" "epp-sim:sim")
  string(REGEX MATCH "^([^:]+):(.+)$" matched "${pair}")
  install(FILES "${deploy}/debian/copyright" "${package_dir}/changelog.gz"
    DESTINATION "/usr/share/doc/${CMAKE_MATCH_1}" COMPONENT ${CMAKE_MATCH_2} EXCLUDE_FROM_ALL)
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME epp)
set(EPP_PACKAGE_CONTACT "The epp authors <maintainers@epp.invalid>" CACHE STRING
  "Maintainer of the Debian packages")
set(CPACK_PACKAGE_CONTACT "${EPP_PACKAGE_CONTACT}")
set(CPACK_PACKAGE_DIRECTORY "${CMAKE_BINARY_DIR}/packages")
set(CPACK_PROJECT_CONFIG_FILE "${PROJECT_SOURCE_DIR}/cmake/PackageTime.cmake")
set(CPACK_POST_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/cmake/PackageSymbols.cmake")
set(CPACK_EPP_CHANGELOG "${deploy}/debian/changelog")
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL epp epp-system sdk sim)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_COMPONENT_EPP_GROUP epp)
set(CPACK_COMPONENT_EPP-SYSTEM_GROUP epp)
set(CPACK_COMPONENT_SDK_GROUP sdk)
set(CPACK_COMPONENT_SIM_GROUP sim)

set(CPACK_DEBIAN_EPP_PACKAGE_NAME epp)
set(CPACK_DEBIAN_EPP_PACKAGE_SECTION net)
set(CPACK_DEBIAN_EPP_PACKAGE_DEPENDS "passwd")
set(CPACK_DEBIAN_EPP_DEBUGINFO_PACKAGE ON)
set(CPACK_DEBIAN_EPP_PACKAGE_CONTROL_EXTRA
  "${package_dir}/control/conffiles" "${package_dir}/control/postinst"
  "${package_dir}/control/prerm" "${package_dir}/control/postrm")
set(CPACK_DEBIAN_EPP_DESCRIPTION "picks the model server for each LLM request
Envoy, or any gateway that speaks ext-proc, asks epp for every request which
model server should answer it. Filters drop endpoints, scorers rate them and
a picker chooses, from signals such as queue length, use of the KV cache and
which server already holds the prompt's prefix. Each of them is a plugin.")
set(CPACK_DEBIAN_SDK_PACKAGE_NAME epp-sdk)
set(CPACK_DEBIAN_SDK_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_SDK_DESCRIPTION "headers to build plugins for epp
A plugin for the endpoint picker epp is a shared object behind a C interface.
This package has that interface, a C++20 layer over it, a fake host for tests,
CMake and pkg-config files, and examples.")
set(CPACK_DEBIAN_SIM_PACKAGE_NAME epp-sim)
set(CPACK_DEBIAN_SIM_PACKAGE_SECTION net)
set(CPACK_DEBIAN_SIM_DEBUGINFO_PACKAGE ON)
set(CPACK_DEBIAN_SIM_DESCRIPTION "simulated model servers for trials of epp
Answers like vLLM, with made-up text, in the time that a real server would
take: queueing, prefill of what its KV cache does not hold, decoding in
batches. Faults can be caused at run time.")
if(sdk_architecture)
  set(CPACK_DEBIAN_SDK_PACKAGE_ARCHITECTURE ${sdk_architecture})
  set(CPACK_DEBIAN_SDK_PACKAGE_SHLIBDEPS OFF)
else()
  set(CPACK_DEBIAN_SDK_DEBUGINFO_PACKAGE ON)
endif()

foreach(script IN ITEMS postinst prerm postrm)
  configure_file("${deploy}/debian/epp.${script}" "${package_dir}/control/${script}" COPYONLY
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
      WORLD_READ WORLD_EXECUTE)
endforeach()
file(CONFIGURE OUTPUT "${package_dir}/control/conffiles" CONTENT
  "/etc/epp/epp.toml\n/etc/epp/config.yaml\n/etc/epp/endpoints.yaml\n")

include(CPack)
add_custom_target(deb
  COMMAND "${CMAKE_CPACK_COMMAND}" -G DEB
  WORKING_DIRECTORY "${CMAKE_BINARY_DIR}"
  COMMENT "Debian packages in ${CPACK_PACKAGE_DIRECTORY}"
  VERBATIM)
add_dependencies(deb epp epp-sim epp_plugins epp_package_files ${sdk_executables})
