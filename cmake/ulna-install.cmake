# SPDX-License-Identifier: MIT
# Install rules: headers and a relocatable, architecture-independent CMake package.
include(CMakePackageConfigHelpers)

set(ulna_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/ulna")
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/ulna-config-version.cmake"
  COMPATIBILITY SameMinorVersion # until 1.0 a minor version may change the interface
  ARCH_INDEPENDENT)

install(TARGETS ulna EXPORT ulna-targets)
install(EXPORT ulna-targets NAMESPACE ulna:: DESTINATION "${ulna_package_dir}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/ulna" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
install(FILES "${PROJECT_SOURCE_DIR}/cmake/ulna-config.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/ulna-dependencies.cmake"
              "${PROJECT_BINARY_DIR}/ulna-config-version.cmake"
        DESTINATION "${ulna_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
