// SPDX-License-Identifier: MIT
// What a thread block is to products: shared memory, copies to it, and the matrix instructions.
#pragma once

#include "ulna/backend/cuda/convolution.hpp"
#include "ulna/backend/cuda/convolution_hopper.cuh"
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

  /// For every group of four lanes: all four numbers become those combined, each with the same result.
  template <class ValueOf, class Combine>
  __device__ void combine_quads(const ValueOf& value_of, const Combine& combine) const {
    float& value = value_of(static_cast<int>(threadIdx.x));
    ULNA_UNROLL
    for (int mask = 1; mask <= 2; mask *= 2) value = combine(value, __shfl_xor_sync(0xFFFFFFFFu, value, mask));
  }

  // --- products of warpgroups

  __device__ void publish() const { detail::publish_shared_memory(); }
  __device__ std::uint64_t descriptor(int offset, int leading, int stride) const {
    return matrix_descriptor(detail::shared_address(offset), leading, stride);
  }
  __device__ void begin_products() const { detail::begin_warpgroup_products(); }
  __device__ void commit_products() const { detail::commit_warpgroup_products(); }
  template <class Tile, class SumsOf, class AOf>
  __device__ void multiply_warpgroups(const SumsOf& sums_of, const AOf& a_of, std::uint64_t b) const {
    const auto t = static_cast<int>(threadIdx.x);
    using Instruction = detail::WarpgroupInstruction<Tile::arithmetic, Tile::columns>;
    Instruction::template run<Tile::a_major == Major::mn>(sums_of(t), a_of(t), b);
  }
  template <class Tile, class SumsOf, class AOf>
  __device__ void multiply_warpgroups_by_words(const SumsOf& sums_of, const AOf& a_of, std::uint64_t b) const {
    const auto t = static_cast<int>(threadIdx.x);
    detail::WordsInstruction<Tile::columns>::run(sums_of(t), a_of(t), b);
  }
  template <int Pending>
  __device__ void wait_products() const {
    detail::wait_warpgroup_products<Pending>();
  }
  /// Keeps the compiler from moving reads and writes of the sums across.
  template <int Columns>
  __device__ void settle(float (*sums)[4]) const {
    ULNA_UNROLL
    for (int j = 0; j < Columns / 8; ++j) ULNA_UNROLL
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(sums[j][i])::"memory");
  }
};

namespace detail {

__device__ inline BlockIndex block_index() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}

/// Holds static shared memory where there is code of warpgroups: how the host tells sm_90a from sm_90.
template <int>
__global__ void warpgroup_probe_kernel(int* to) {
#if ULNA_HAS_WARPGROUPS
  __shared__ int found;
  if (threadIdx.x == 0) found = 1;
  __syncthreads();
  *to = found;
#endif
}

}  // namespace detail

/// Whether the device is a Hopper and this program holds code for sm_90a.
inline bool has_warpgroup_products(const DeviceExecution& on) {
  if (on.context.architecture != 90) return false;
  cudaFuncAttributes attributes{};
  const cudaError_t status =
      cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(&detail::warpgroup_probe_kernel<0>));
  check(status, "asking for the code of the device's architecture");
  return attributes.sharedSizeBytes > 0;
}

}  // namespace ulna::cuda
