// SPDX-License-Identifier: MIT
// The device's way of doing what execution.hpp states: one kernel for each type of body.
#pragma once

#include "ulna/backend/cuda/execution.hpp"
#include "ulna/backend/cuda/support.cuh"

namespace ulna::cuda {

namespace detail {

inline constexpr int each_threads = 256;
inline constexpr int most_threads = 256;  ///< of a block of blocks()
/// Leaves 80 registers a thread: without it the compiler spills some to fit more blocks.
inline constexpr int resident_blocks = 3;

template <class Body>
__global__ void __launch_bounds__(each_threads, resident_blocks) each_kernel(const Body body, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * each_threads + threadIdx.x;
  if (i < count) body(i);
}

template <class Body>
__global__ void __launch_bounds__(most_threads, resident_blocks) blocks_kernel(const Body body) {
  extern __shared__ __align__(16) std::byte shared[];
  typename Body::State state{};
  const Position at{blockIdx.x, static_cast<int>(threadIdx.x), shared};
  const int phases = body.phases();
  for (int phase = 0; phase < phases; ++phase) {
    if (phase > 0) __syncthreads();
    body(phase, at, state);
  }
}

}  // namespace detail

/// Enqueues kernels in the context's stream.
struct DeviceExecution {
  const KernelContext& context;
  const RunState* run = nullptr;      ///< in device memory
  const std::byte* packed = nullptr;  ///< the weight of the next node, in device memory, where it was packed before

  explicit DeviceExecution(const KernelContext& c) : context(c) {}

  template <class Body>
  void each(const char* name, std::int64_t count, const Body& body) const {
    const auto grid = static_cast<unsigned>((count + detail::each_threads - 1) / detail::each_threads);
    launch(context, name, detail::each_kernel<Body>, grid, detail::each_threads, 0, body, count);
  }

  template <class Body>
  void blocks(const char* name, std::int64_t count, int threads, std::size_t shared_bytes, const Body& body) const {
    launch(context, name, detail::blocks_kernel<Body>, static_cast<unsigned>(count), static_cast<unsigned>(threads),
           shared_bytes, body);
  }
};

}  // namespace ulna::cuda
