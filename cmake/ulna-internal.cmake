# SPDX-License-Identifier: MIT
# How Ulna's own tests, examples and benchmarks are compiled. Nothing here reaches a user of ulna::ulna.
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(ULNA_CCACHE ccache)
mark_as_advanced(ULNA_CCACHE)
if(ULNA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${ULNA_CCACHE}")
endif()

set(CMAKE_CXX_EXTENSIONS OFF)

add_library(ulna_internal INTERFACE)
target_link_libraries(ulna_internal INTERFACE ulna::ulna)
target_compile_options(ulna_internal INTERFACE -Wall -Wextra -Wconversion -Wshadow -pedantic -Werror)
# False alarms of GCC 12, gone in 13: over the AVX-512 intrinsics of its own headers (GCC bug 105593) and over the sum of
# a literal and a std::string (105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(ulna_internal INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
endif()
# Tests run kernels for wider vectors than the processor has, too; nothing of another ABI is linked with them.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ulna_internal INTERFACE -Wno-psabi)
endif()
if(ULNA_NATIVE)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=native ULNA_HAS_MARCH_NATIVE)
  if(ULNA_HAS_MARCH_NATIVE)
    target_compile_options(ulna_internal INTERFACE -march=native)
  endif()
endif()
if(ULNA_SANITIZE)
  set(ulna_sanitizer_flags "-fsanitize=${ULNA_SANITIZE}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(ulna_internal INTERFACE ${ulna_sanitizer_flags})
  target_link_options(ulna_internal INTERFACE ${ulna_sanitizer_flags})
endif()

# Stops the configuration with one clear line where something that tests, examples or benchmarks need is not there.
function(ulna_require what package option found)
  if(NOT found)
    message(FATAL_ERROR "${what} not found: install it (Debian, Ubuntu: ${package}) or configure with -D${option}=OFF")
  endif()
endfunction()
