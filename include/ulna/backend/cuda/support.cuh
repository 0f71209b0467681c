// SPDX-License-Identifier: MIT
// What every launcher of the CUDA backend shares: errors, the device, and what a kernel is launched in.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

#include "ulna/backend/cuda/error.hpp"
#include "ulna/backend/cuda/host_device.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::cuda {

namespace detail {

inline std::string words_of(cudaError_t status) {
  return std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status);
}

/// The architectures that this translation unit holds code for, such as "8.0, 9.0".
inline std::string compiled_architectures() {
#ifdef __CUDA_ARCH_LIST__
  std::string text;
  for (const int architecture : {__CUDA_ARCH_LIST__})
    text +=
        (text.empty() ? "" : ", ") + std::to_string(architecture / 100) + '.' + std::to_string(architecture % 100 / 10);
  return text;
#else
  return "none";
#endif
}

}  // namespace detail

/// Throws Error unless a call of the runtime succeeded: "<what>: cudaErrorX: in words".
inline void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // errors that can be got over must not be found again by the next call
  std::string advice;
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction ||
      status == cudaErrorUnsupportedPtxVersion)
    advice = "; this program was compiled for the architectures " + detail::compiled_architectures() +
             ", compile it for the device's too (CMAKE_CUDA_ARCHITECTURES)";
  throw Error(what + ": " + detail::words_of(status) + advice);
}

/// What a launcher of one op needs besides its call. The launcher only enqueues: it neither waits nor allocates, so
/// that a run can be captured as a graph.
struct KernelContext {
  cudaStream_t stream = nullptr;
  int architecture = 0;               ///< 80, 86, 89, 90, ...
  int multiprocessors = 1;            ///< for schedules; no result may depend on it
  std::size_t shared_memory = 49152;  ///< the most dynamic shared memory of a block, bytes
};

/// Enqueues a kernel. Throws Error, with the kernel's name, when the launch is refused.
template <class... Parameters, class... Arguments>
void launch(const KernelContext& context, const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t shared_bytes, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;  // nothing to do
  if (shared_bytes > 49152)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          std::string(name) + ": asking for " + std::to_string(shared_bytes) + " bytes of shared memory");
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = context.stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
        std::string(name) + ": launch failed");
}

}  // namespace ulna::cuda
