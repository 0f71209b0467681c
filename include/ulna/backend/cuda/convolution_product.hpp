// SPDX-License-Identifier: MIT
// Multiplying one step's tiles of shared memory: fragments for tensor cores, or register tiles of multiply-adds.
//
// A Block is a thread block, of the device (convolution.cuh) or emulated on the host: each(f) calls f(thread) for its
// threads, PerThread<T> is a variable of each, and collectives take functions of the thread.
#pragma once

#include <bit>
#include <cstdint>

#include "ulna/backend/cuda/convolution_tile.hpp"
#include "ulna/backend/cuda/elements.hpp"

namespace ulna::cuda {

/// A float rounded to tf32's 11 significant bits, ties away from zero, as tensor cores expect it.
ULNA_HOST_DEVICE inline std::uint32_t tf32_bits(std::uint32_t float_bits) {
#ifdef __CUDA_ARCH__
  std::uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(float_bits)));
  return rounded;
#else
  const bool finite = (float_bits & 0x7F800000u) != 0x7F800000u;
  return finite ? (float_bits + 0x1000u) & 0xFFFFE000u : float_bits;
#endif
}

/// Where a warp's outputs begin in its block's.
template <class Tile>
struct WarpPlace {
  int row, column;
  constexpr explicit WarpPlace(int thread)
      : row(thread / warp_size / (Tile::columns / Tile::warp_columns) * Tile::warp_rows),
        column(thread / warp_size % (Tile::columns / Tile::warp_columns) * Tile::warp_columns) {}
};

/// Matrix products of warps: m16n8k16 of bf16 or m16n8k8 of tf32, 32 bytes of the summed axis at once.
template <class Tile>
struct TensorCoreProduct {
  static constexpr bool is_bf16 = Tile::arithmetic == Arithmetic::bf16;
  static constexpr int row_blocks = Tile::warp_rows / 16;
  static constexpr int column_blocks = Tile::warp_columns / 8;
  static constexpr int step = is_bf16 ? 16 : 8;
  using ATile = typename Tile::ATile;
  using BTile = typename Tile::BTile;

  struct Sums {
    float block[row_blocks][column_blocks][4] = {};
  };
  struct Fragments {
    std::uint32_t a[row_blocks][4];
    std::uint32_t b[column_blocks][2];
  };

  /// Adds the product of the tiles at byte `stage` of shared memory.
  template <class Block, class PerThreadSums>
  ULNA_HOST_DEVICE static void add(Block& block, PerThreadSums& sums, int stage) {
    typename Block::template PerThread<Fragments> fragments;
    ULNA_UNROLL
    for (int k = 0; k < Tile::depth; k += step) {
      load_a(block, fragments, stage, k);
      load_b(block, fragments, stage + ATile::bytes, k);
      ULNA_UNROLL
      for (int i = 0; i < row_blocks; ++i) ULNA_UNROLL
      for (int j = 0; j < column_blocks; ++j)
        block.template multiply_add<is_bf16>([&](int t) { return sums[t].block[i][j]; },
                                             [&](int t) { return fragments[t].a[i]; },
                                             [&](int t) { return fragments[t].b[j]; });
    }
  }

  /// f(row, column, sum, sum of column + 1) for the thread's outputs, sums by reference. A fragment's lane holds row
  /// lane / 4 and that plus 8, columns 2 (lane % 4) and the next.
  template <class AnySums, class F>
  ULNA_HOST_DEVICE static void each_pair(int thread, AnySums& sums, const F& f) {
    const WarpPlace<Tile> warp(thread);
    const int lane = thread % warp_size;
    ULNA_UNROLL
    for (int i = 0; i < row_blocks; ++i) ULNA_UNROLL
    for (int j = 0; j < column_blocks; ++j) ULNA_UNROLL
    for (int half = 0; half < 2; ++half)
      f(warp.row + i * 16 + half * 8 + lane / 4, warp.column + j * 8 + lane % 4 * 2, sums.block[i][j][2 * half],
        sums.block[i][j][2 * half + 1]);
  }

  // --- where fragments are read: a lane names one 16-byte row of the matrices that four registers of a warp take

  /// Lanes 0-7, 8-15, 16-23, 24-31 name the rows of (rows 0-7, terms 0-), (8-15, 0-), (0-7, middle-), (8-15, middle-).
  static constexpr int a_matrix_offset(int thread, int i, int k) {
    const int lane = thread % warp_size;
    const int row = WarpPlace<Tile>(thread).row + i * 16;
    if (Tile::a_major == Major::k) return ATile::offset(row + lane % 16, k / Tile::vector + lane / 16);
    return ATile::offset(k + lane / 16 * 8 + lane % 8, row / Tile::vector + lane / 8 % 2);
  }
  /// Two blocks of columns at once: (terms 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  static constexpr int b_matrix_offset(int thread, int j, int k) {
    const int lane = thread % warp_size;
    return BTile::offset(k + lane % 16, (WarpPlace<Tile>(thread).column + j * 8) / Tile::vector + lane / 16);
  }
  /// Single words of tf32 tiles whose chunks lie across the summed axis.
  template <class Layout>
  static constexpr int word_offset(int k, int mn) {
    return Layout::offset(k, mn / Tile::vector) + mn % Tile::vector * 4;
  }
  static constexpr int a_word_offset(int thread, int i, int k, int word) {
    const int lane = thread % warp_size;
    return word_offset<ATile>(k + lane % 4 + word / 2 * 4,
                              WarpPlace<Tile>(thread).row + i * 16 + lane / 4 + word % 2 * 8);
  }
  static constexpr int b_word_offset(int thread, int j, int k, int word) {
    const int lane = thread % warp_size;
    return word_offset<BTile>(k + lane % 4 + word * 4, WarpPlace<Tile>(thread).column + j * 8 + lane / 4);
  }

 private:
  template <class Block, class PerThreadFragments>
  ULNA_HOST_DEVICE static void load_a(Block& block, PerThreadFragments& fragments, int tile, int k) {
    ULNA_UNROLL
    for (int i = 0; i < row_blocks; ++i) {
      if constexpr (is_bf16 || Tile::a_major == Major::k)
        block.template load_matrices<Tile::a_major == Major::mn>(
            [&](int t) { return tile + a_matrix_offset(t, i, k); },
            [&](int t, int word) -> std::uint32_t& { return fragments[t].a[i][word]; });
      block.each([&](int t) {
        ULNA_UNROLL
        for (int word = 0; word < 4; ++word) {
          std::uint32_t& to = fragments[t].a[i][word];
          if constexpr (!is_bf16 && Tile::a_major == Major::mn)
            to = block.template load<std::uint32_t>(t, tile + a_word_offset(t, i, k, word));
          if constexpr (!is_bf16) to = tf32_bits(to);
        }
      });
    }
  }

  template <class Block, class PerThreadFragments>
  ULNA_HOST_DEVICE static void load_b(Block& block, PerThreadFragments& fragments, int tile, int k) {
    if constexpr (is_bf16) {
      ULNA_UNROLL
      for (int j = 0; j < column_blocks; j += 2)
        block.template load_matrices<true>(
            [&](int t) { return tile + b_matrix_offset(t, j, k); },
            [&](int t, int word) -> std::uint32_t& { return fragments[t].b[j + word / 2][word % 2]; });
    } else {
      block.each([&](int t) {
        ULNA_UNROLL
        for (int j = 0; j < column_blocks; ++j) ULNA_UNROLL
        for (int word = 0; word < 2; ++word)
          fragments[t].b[j][word] =
              tf32_bits(block.template load<std::uint32_t>(t, tile + b_word_offset(t, j, k, word)));
      });
    }
  }
};

/// Multiply-adds in float: a warp's lanes stand as 4 rows of 8, a lane sums 8 rows of warp_columns / 8 columns.
template <class Tile>
struct ExactProduct {
  static constexpr int rows = Tile::warp_rows / 4;
  static constexpr int columns = Tile::warp_columns / 8;
  static_assert(rows == 8 && columns % 4 == 0);
  using ATile = typename Tile::ATile;
  using BTile = typename Tile::BTile;
  using Quad = Pack<float, 4>;

  struct Sums {
    float value[rows][columns] = {};
  };

  static constexpr int row(int thread, int i) {
    const int line = thread % warp_size / 8;
    return WarpPlace<Tile>(thread).row + (Tile::a_major == Major::k ? i * 4 + line : i / 4 * 16 + line * 4 + i % 4);
  }
  static constexpr int column(int thread, int j) {
    return WarpPlace<Tile>(thread).column + j / 4 * 32 + thread % 8 * 4 + j % 4;
  }

  template <class Block, class PerThreadSums>
  ULNA_HOST_DEVICE static void add(Block& block, PerThreadSums& sums, int stage) {
    block.each([&](int t) {
      ULNA_UNROLL
      for (int k = 0; k < Tile::depth; k += 4) {
        Quad a[rows];
        if constexpr (Tile::a_major == Major::k) {
          ULNA_UNROLL
          for (int i = 0; i < rows; ++i) a[i] = block.template load<Quad>(t, stage + ATile::offset(row(t, i), k / 4));
        } else {
          ULNA_UNROLL
          for (int i = 0; i < rows; ++i)  // a[i]: rows of quad i % 2, term i / 2
            a[i] = block.template load<Quad>(t, stage + ATile::offset(k + i / 2, row(t, i % 2 * 4) / 4));
        }
        ULNA_UNROLL
        for (int e = 0; e < 4; ++e)
          add_term(block, sums[t], t, stage + ATile::bytes, k + e, [&](int i) {
            return Tile::a_major == Major::k ? a[i].element[e] : a[e * 2 + i / 4].element[i % 4];
          });
      }
    });
  }

  template <class AnySums, class F>
  ULNA_HOST_DEVICE static void each_pair(int thread, AnySums& sums, const F& f) {
    ULNA_UNROLL
    for (int i = 0; i < rows; ++i) ULNA_UNROLL
    for (int j = 0; j < columns; j += 2) f(row(thread, i), column(thread, j), sums.value[i][j], sums.value[i][j + 1]);
  }

 private:
  template <class Block, class A>
  ULNA_HOST_DEVICE static void add_term(Block& block, Sums& sums, int t, int tile, int k, const A& a) {
    ULNA_UNROLL
    for (int j = 0; j < columns; j += 4) {
      const Quad b = block.template load<Quad>(t, tile + BTile::offset(k, column(t, j) / 4));
      ULNA_UNROLL
      for (int i = 0; i < rows; ++i) ULNA_UNROLL
      for (int e = 0; e < 4; ++e) sums.value[i][j + e] += a(i) * b.element[e];
    }
  }
};

/// How a tile's operands are multiplied.
template <class Tile, bool Exact = Tile::arithmetic == Arithmetic::exact, bool Warpgroups = Tile::warpgroups>
struct ProductOf {
  using type = TensorCoreProduct<Tile>;
};
template <class Tile>
struct ProductOf<Tile, true, false> {
  using type = ExactProduct<Tile>;
};

}  // namespace ulna::cuda
