// SPDX-License-Identifier: MIT
// Products of whole warpgroups, as Hopper has them: 64 rows by all columns of a block, both operands read from shared
// memory while the warps go on. Tiles lie there in panels of 128 bytes whose chunks trade places as SharedTile says,
// which is the 128-byte swizzle of the matrix descriptors.
#pragma once

#include <cstdint>

#include "ulna/backend/cuda/convolution_product.hpp"

namespace ulna::cuda {

inline constexpr int warpgroup_size = 128;
inline constexpr int warpgroup_rows = 64;

/// Where a matrix lies in shared memory, 128-byte swizzle (PTX ISA, "Matrix descriptor format").
/// Along the summed axis: `stride` bytes between groups of 8 rows. Across it, which 16-bit numbers alone may lie:
/// `leading` bytes between panels of 64 rows, `stride` between groups of 8 terms.
constexpr std::uint64_t matrix_descriptor(std::uint32_t address, int leading, int stride) {
  const auto field = [](std::uint32_t bytes) { return static_cast<std::uint64_t>((bytes & 0x3FFFFu) >> 4); };
  return field(address) | field(static_cast<std::uint32_t>(leading)) << 16 |
         field(static_cast<std::uint32_t>(stride)) << 32 | std::uint64_t{1} << 62;
}

template <class Tile>
struct WarpgroupProduct {
  static constexpr bool is_bf16 = Tile::arithmetic == Arithmetic::bf16;
  static constexpr int element = static_cast<int>(sizeof(typename Tile::Operand));
  static constexpr int step = 32 / element;  ///< terms of an instruction
  static constexpr int panel_row_bytes = 128;
  static constexpr int group_bytes = 8 * panel_row_bytes;
  static constexpr int panel_bytes = Tile::depth * panel_row_bytes;               ///< of a tile whose rows are terms
  static constexpr int a_leading = Tile::a_major == Major::k ? 16 : panel_bytes;  ///< 16: there is one panel, not used
  static constexpr int b_leading = Tile::b_major == Major::k ? 16 : panel_bytes;
  static_assert(Tile::arithmetic != Arithmetic::exact && Tile::warp_rows == 16 && Tile::warp_columns == Tile::columns);
  static_assert(is_bf16 || Tile::b_major == Major::k);
  static_assert(Tile::depth * element == panel_row_bytes, "a row of terms is one panel wide");
  static_assert(Tile::stage_bytes % group_bytes == 0 && Tile::ATile::bytes % group_bytes == 0);

  using Sums = typename TensorCoreProduct<Tile>::Sums;

  /// The matrix of 64 rows of a thread's warpgroup at term k of tile A, in bytes from the tile.
  static constexpr int a_offset(int thread, int k) {
    const int group = thread / warpgroup_size;
    return Tile::a_major == Major::k ? group * warpgroup_rows * panel_row_bytes + k * element
                                     : group * panel_bytes + k * panel_row_bytes;
  }
  static constexpr int b_offset(int k) { return k * (Tile::b_major == Major::k ? element : panel_row_bytes); }

  template <class Block, class PerThreadSums>
  ULNA_HOST_DEVICE static void add(Block& block, PerThreadSums& sums, int stage) {
    static_assert(is_bf16 || Tile::a_major == Major::k, "floats across the summed axis: convolution_turned.hpp");
    block.begin_products();
    ULNA_UNROLL
    for (int k = 0; k < Tile::depth; k += step)
      block.template multiply_warpgroups<Tile>(
          [&](int t) { return sums[t].block[0]; },
          [&](int t) { return block.descriptor(stage + a_offset(t, k), a_leading, group_bytes); },
          block.descriptor(stage + Tile::ATile::bytes + b_offset(k), b_leading, group_bytes));
    block.commit_products();
  }

  /// Waits for all products.
  template <class Block, class PerThreadSums>
  ULNA_HOST_DEVICE static void finish(Block& block, PerThreadSums& sums) {
    block.template wait_products<0>();
    settle(block, sums);
  }

  /// Ties the sums to this place of the program: while products are under way, only they may touch them.
  template <class Block, class PerThreadSums>
  ULNA_HOST_DEVICE static void settle(Block& block, PerThreadSums& sums) {
    block.each([&](int t) { block.template settle<Tile::columns>(sums[t].block[0]); });
  }

  /// The warps of a warpgroup hold 16 rows each, laid out as the smaller matrix instructions do.
  template <class AnySums, class F>
  ULNA_HOST_DEVICE static void each_pair(int thread, AnySums& sums, const F& f) {
    TensorCoreProduct<Tile>::each_pair(thread, sums, f);
  }
};

template <class Tile>
struct ProductOf<Tile, false, true> {
  using type = WarpgroupProduct<Tile>;
};

}  // namespace ulna::cuda
