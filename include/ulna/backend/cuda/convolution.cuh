// SPDX-License-Identifier: MIT
// Programs of tiles on a device: the convolution family, and attention on tensor cores.
#pragma once

#include "ulna/backend/cuda/convolution_block.cuh"
#include "ulna/backend/cuda/convolution_box.cuh"

namespace ulna::cuda {

namespace detail {

template <class Program>
__global__ void __launch_bounds__(Program::Tile::threads, Program::resident_blocks)
    tile_kernel(const __grid_constant__ Program program) {
  if constexpr (Program::Tile::warpgroups && !ULNA_HAS_WARPGROUPS) return;
  if constexpr (Program::Tile::warpgroups)
    if (shared_address(0) % 1024 != 0) __trap();  // the swizzle is of addresses
  DeviceBlock block;
  program(block, block_index());
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
