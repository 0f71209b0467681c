// SPDX-License-Identifier: MIT
// The copy engine and the barriers of convolution_box.hpp on a device. They exist in code for sm_90a alone; elsewhere
// the kernel is empty and nobody starts it, because has_box_copies() is false there.
#pragma once

#include "ulna/backend/cuda/convolution.hpp"
#include "ulna/backend/cuda/convolution_block.cuh"
#include "ulna/backend/cuda/tensor_map.cuh"

namespace ulna::cuda {

/// A block whose first Tile::threads threads multiply, and whose further warp asks for boxes. Two barriers a stage:
/// full, for which the asking thread and the bytes asked for arrive; empty, for which each warp arrives that read it.
template <class Tile>
class DeviceBoxBlock : public DeviceBlock {
 public:
  static constexpr int threads = Tile::threads + warp_size;
  static constexpr int shared_bytes = Tile::shared_bytes + 2 * Tile::stages * 8;
  static_assert(Tile::shared_bytes % 8 == 0);

  /// The threads of the products: the others may be gone.
  __device__ void barrier() const { asm volatile("bar.sync 1, %0;" ::"n"(Tile::threads) : "memory"); }

  template <int Stages>
  __device__ void start() const {
    if (threadIdx.x == 0) {
      for (int s = 0; s < Stages; ++s) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(full(s)) : "memory");
        asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(empty(s)), "n"(Tile::threads / warp_size)
                     : "memory");
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // the engine must see them too
    }
    __syncthreads();
  }

  template <class Produce, class Consume>
  __device__ void roles(const Produce& produce, const Consume& consume) const {
    if (threadIdx.x < Tile::threads)
      consume();
    else if (threadIdx.x == Tile::threads)
      produce();
  }

  __device__ void await_empty(int stage, unsigned parity) const { await(empty(stage), parity); }
  __device__ void await_full(int stage, unsigned parity) const { await(full(stage), parity); }
  __device__ void expect(int stage, int bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full(stage)), "r"(bytes) : "memory");
  }
  __device__ void release(int stage) const {
    if (threadIdx.x % warp_size == 0)
      asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(empty(stage)) : "memory");
  }

  __device__ void copy_box(int stage, int offset, const TensorMap& map, const std::array<int, 4>& place) const {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(detail::shared_address(offset)),
        "l"(&map), "r"(place[0]), "r"(place[1]), "r"(place[2]), "r"(place[3]), "r"(full(stage))
        : "memory");
  }

 private:
  __device__ static unsigned full(int stage) { return detail::shared_address(Tile::shared_bytes + stage * 8); }
  __device__ static unsigned empty(int stage) { return full(Tile::stages + stage); }

  __device__ static void await(unsigned barrier, unsigned parity) {
    unsigned done = 0;
    while (done == 0)
      asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                   : "=r"(done)
                   : "r"(barrier), "r"(parity)
                   : "memory");
  }
};

namespace detail {

template <class Program>
__global__ void __launch_bounds__(DeviceBoxBlock<typename Program::Tile>::threads, Program::Tile::resident_blocks)
    box_kernel(const __grid_constant__ Program program) {
  if constexpr (ULNA_HAS_WARPGROUPS != 0) {
    if (shared_address(0) % 1024 != 0) __trap();  // the swizzle is of addresses
    DeviceBoxBlock<typename Program::Tile> block;
    program(block, block_index());
  }
}

}  // namespace detail

/// Whether the device, this program and the driver have what boxes take.
inline bool has_box_copies(const DeviceExecution& on) {
  return has_warpgroup_products(on) && detail::encode_tiled() != nullptr;
}

template <class Program>
void run_boxes(const DeviceExecution& on, const char* name, const ProductPlan& plan, const Program& program) {
  using Block = DeviceBoxBlock<typename Program::Tile>;
  const dim3 grid(static_cast<unsigned>(plan.tiles()), static_cast<unsigned>(plan.phases),
                  static_cast<unsigned>(plan.splits));
  launch(on.context, name, detail::box_kernel<Program>, grid, Block::threads, Block::shared_bytes, program);
}

}  // namespace ulna::cuda
