// SPDX-License-Identifier: MIT
// The convolution family on a device: what a thread block is there, and the kernels.
#pragma once

#include "ulna/backend/cuda/convolution.hpp"
#include "ulna/backend/cuda/launch.cuh"

namespace ulna::cuda {

namespace detail {

extern __shared__ __align__(1024) std::byte tile_memory[];

__device__ inline unsigned shared_address(int offset) {
  return static_cast<unsigned>(__cvta_generic_to_shared(tile_memory + offset));
}

}  // namespace detail

/// The calling thread's part of its block. What products see of it is stated in convolution_product.hpp.
struct DeviceBlock {
  template <class T>
  class PerThread {
   public:
    __device__ T& operator[](int) { return value_; }

   private:
    T value_;
  };

  template <class F>
  __device__ void each(const F& f) const {
    f(static_cast<int>(threadIdx.x));
  }
  __device__ void barrier() const { __syncthreads(); }

  __device__ void copy(int, int offset, const void* from, bool valid) const {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(detail::shared_address(offset)),
                 "l"(__cvta_generic_to_global(from)), "r"(valid ? chunk_bytes : 0)
                 : "memory");
  }
  __device__ void commit() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int Pending>
  __device__ void wait() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
  }

  template <class T>
  __device__ void store(int, int offset, const T& value) const {
    *reinterpret_cast<T*>(detail::tile_memory + offset) = value;
  }
  template <class T>
  __device__ T load(int, int offset) const {
    return *reinterpret_cast<const T*>(detail::tile_memory + offset);
  }

  template <bool Transposed, class OffsetOf, class WordOf>
  __device__ void load_matrices(const OffsetOf& offset_of, const WordOf& word_of) const {
    const auto t = static_cast<int>(threadIdx.x);
    const unsigned row = detail::shared_address(offset_of(t));
    std::uint32_t w0, w1, w2, w3;
    if constexpr (Transposed)
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(w0), "=r"(w1), "=r"(w2), "=r"(w3)
                   : "r"(row)
                   : "memory");
    else
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(w0), "=r"(w1), "=r"(w2), "=r"(w3)
                   : "r"(row)
                   : "memory");
    word_of(t, 0) = w0;
    word_of(t, 1) = w1;
    word_of(t, 2) = w2;
    word_of(t, 3) = w3;
  }

  template <bool Bf16, class SumsOf, class AOf, class BOf>
  __device__ void multiply_add(const SumsOf& sums_of, const AOf& a_of, const BOf& b_of) const {
    const auto t = static_cast<int>(threadIdx.x);
    float* const d = sums_of(t);
    const std::uint32_t* const a = a_of(t);
    const std::uint32_t* const b = b_of(t);
    if constexpr (Bf16)
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
          "{%0, %1, %2, %3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
      asm volatile(
          "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
          "{%0, %1, %2, %3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
};

namespace detail {

template <class Program>
__global__ void __launch_bounds__(Program::Tile::threads) tile_kernel(const __grid_constant__ Program program) {
  DeviceBlock block;
  program(block, BlockIndex{static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)});
}

}  // namespace detail

/// Enqueues program(block, index) for every tile, phase and split of the plan.
template <class Program>
void run_tiles(const DeviceExecution& on, const char* name, const ProductPlan& plan, const Program& program) {
  using Tile = typename Program::Tile;
  const dim3 grid(static_cast<unsigned>(plan.tiles()), static_cast<unsigned>(plan.phases),
                  static_cast<unsigned>(plan.splits));
  launch(on.context, name, detail::tile_kernel<Program>, grid, Tile::threads, Tile::shared_bytes, program);
}

}  // namespace ulna::cuda
