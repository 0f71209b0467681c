// SPDX-License-Identifier: MIT
// Tensor maps from the driver, which is asked for by name at run time: a program links to no more than the runtime.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstring>
#include <string>
#include <type_traits>

#include "ulna/backend/cuda/launch.cuh"
#include "ulna/backend/cuda/tensor_map.hpp"

namespace ulna::cuda {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));

namespace detail {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

/// The driver's function; null where it has none.
inline EncodeTiled encode_tiled() {
  static const EncodeTiled found = [] {
    constexpr const char* name = "cuTensorMapEncodeTiled";
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    const cudaError_t status = cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t status = cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &result);
#endif
    if (status != cudaSuccess) (void)cudaGetLastError();
    const bool there = status == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return there ? reinterpret_cast<EncodeTiled>(function) : nullptr;
  }();
  return found;
}

}  // namespace detail

inline TensorMap tensor_map(const DeviceExecution&, const TensorBoxes& boxes) {
  static_assert(sizeof(cuuint64_t) == sizeof(std::uint64_t) && sizeof(cuuint32_t) == sizeof(std::uint32_t));
  CUtensorMap map{};
  const cuuint64_t size[4] = {boxes.size[0], boxes.size[1], boxes.size[2], boxes.size[3]};
  const cuuint64_t stride[3] = {boxes.stride[0], boxes.stride[1], boxes.stride[2]};
  const cuuint32_t box[4] = {boxes.box[0], boxes.box[1], boxes.box[2], boxes.box[3]};
  const cuuint32_t step[4] = {1, 1, 1, 1};
  const CUtensorMapDataType type =
      boxes.element == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_TFLOAT32;
  const CUresult status = detail::encode_tiled()(&map, type, 4, const_cast<void*>(boxes.data), size, stride, box, step,
                                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                                 CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw Error("cuTensorMapEncodeTiled refuses boxes of " + std::to_string(box[1]) + " x " + std::to_string(box[2]) +
                " x " + std::to_string(box[3]) + " rows in a tensor of " + std::to_string(size[0]) + " x " +
                std::to_string(size[1]) + " x " + std::to_string(size[2]) + " x " + std::to_string(size[3]) +
                ": CUresult " + std::to_string(static_cast<int>(status)));
  TensorMap made;
  static_assert(std::is_trivially_copyable_v<CUtensorMap>);
  std::memcpy(&made, &map, sizeof(made));
  return made;
}

}  // namespace ulna::cuda
