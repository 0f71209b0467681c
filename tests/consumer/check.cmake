# SPDX-License-Identifier: MIT
# cmake -DWAY=... -DULNA_BINARY_DIR=... -DWORK_DIR=... -DGENERATOR=... -DCOMPILER=... [-DLAUNCHER=...] [-DNVCC=...]
#       -P check.cmake
# Builds and runs the project beside this script, or with NVCC that in its folder cuda, in a folder of its own, outside
# Ulna's build tree as far as CMake sees.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH tests)
cmake_path(GET tests PARENT_PATH ulna)

function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
set(arguments "-DWAY=${WAY}")
if(NVCC)
  file(COPY "${CMAKE_CURRENT_LIST_DIR}/cuda/" DESTINATION "${WORK_DIR}/source")
  list(APPEND arguments "-DCMAKE_CUDA_COMPILER=${NVCC}" -DCMAKE_CUDA_ARCHITECTURES=80)
else()
  file(COPY "${CMAKE_CURRENT_LIST_DIR}/" DESTINATION "${WORK_DIR}/source" PATTERN check.cmake EXCLUDE
       PATTERN cuda EXCLUDE)
endif()
if(WAY STREQUAL "find_package")
  # Moved after the installation: a package must not remember where it was put first.
  run("${CMAKE_COMMAND}" --install "${ULNA_BINARY_DIR}" --prefix "${WORK_DIR}/first")
  file(RENAME "${WORK_DIR}/first" "${WORK_DIR}/prefix")
  list(APPEND arguments "-DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix")
else()
  file(CREATE_LINK "${ulna}" "${WORK_DIR}/source/ulna" SYMBOLIC)
endif()

run("${CMAKE_COMMAND}" -S "${WORK_DIR}/source" -B "${WORK_DIR}/build" -G "${GENERATOR}" -DCMAKE_BUILD_TYPE=Debug
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}" ${arguments})
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
run("${WORK_DIR}/build/consumer")
