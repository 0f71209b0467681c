# SPDX-License-Identifier: MIT
# What Ulna stands on. Installed beside the package's config file, so that the build tree and an installed package find
# the same things in the same way.

# Core. What is not found is named in ulna_MISSING.
set(ULNA_CORE_LIBRARIES Eigen3::Eigen xtensor TBB::tbb)
set(ulna_MISSING "")
find_package(Eigen3 3.4 QUIET)
if(NOT TARGET Eigen3::Eigen)
  list(APPEND ulna_MISSING "Eigen 3.4 (Debian, Ubuntu: libeigen3-dev)")
endif()
find_package(xtensor 0.24...<0.26 QUIET) # 0.26 moves every header
if(NOT TARGET xtensor)
  list(APPEND ulna_MISSING "xtensor 0.24 or 0.25 (libxtensor-dev)")
endif()
find_package(TBB QUIET)
if(NOT TARGET TBB::tbb)
  list(APPEND ulna_MISSING "oneTBB (libtbb-dev)")
endif()
list(JOIN ulna_MISSING ", " ulna_MISSING)

# The optional components, and the headers that need them.
#   image    ulna/data/image_file.hpp    reading and writing PNG and TIFF
#   report   ulna/report/*.hpp           pictures: overlays, curves, contact sheets
#   cuda     ulna/cuda.hpp               NVIDIA devices; for targets whose sources are of the language CUDA
set(ULNA_COMPONENTS image report cuda)

# Sets ulna_<component>_FOUND, _LIBRARIES (what the component links), _OPTIONS (what it compiles with) and _NEEDS (in
# words). A macro, because what find_package sets must reach the caller.
macro(ulna_find_component component)
  set(ulna_${component}_FOUND FALSE)
  set(ulna_${component}_OPTIONS "")
  if("${component}" STREQUAL "image")
    set(ulna_image_NEEDS "libpng and libtiff")
    set(ulna_image_LIBRARIES PNG::PNG TIFF::TIFF)
    find_package(PNG QUIET)
    find_package(TIFF QUIET)
    if(PNG_FOUND AND TIFF_FOUND)
      set(ulna_image_FOUND TRUE)
    endif()
  elseif("${component}" STREQUAL "report")
    set(ulna_report_NEEDS "cairo (through pkg-config)")
    set(ulna_report_LIBRARIES PkgConfig::ULNA_CAIRO)
    find_package(PkgConfig QUIET)
    if(PKG_CONFIG_FOUND)
      pkg_check_modules(ULNA_CAIRO QUIET IMPORTED_TARGET GLOBAL cairo)
    endif()
    if(TARGET PkgConfig::ULNA_CAIRO)
      set(ulna_report_FOUND TRUE)
    endif()
  elseif("${component}" STREQUAL "cuda")
    set(ulna_cuda_NEEDS "the CUDA Toolkit 12 or newer")
    set(ulna_cuda_LIBRARIES "") # the language CUDA links its runtime itself
    # Kernels call constexpr functions of the standard library and of Ulna. The standard is named here because CMake 3.25
    # leaves it out for CUDA 13. Warning 20012 is about defaulted functions of Eigen 3.4.
    set(ulna_cuda_OPTIONS
        "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;-diag-suppress=20012>")
    find_package(CUDAToolkit 12.0 QUIET)
    if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE)
      set(ulna_cuda_FOUND TRUE)
    endif()
  else()
    set(ulna_${component}_NEEDS "a component of that name (there are: ${ULNA_COMPONENTS})")
  endif()
endmacro()
