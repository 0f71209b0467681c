// SPDX-License-Identifier: MIT
// The one inner loop of the convolution family: a sum of outer products kept in registers,
//
//   sum[r][l] (+)= sum over o < outer, i < inner of  a[a_offset[o] + i a_step + r]  b[b_offset[o] + i b_step + l]
//
// for Rows consecutive elements of a and Vectors consecutive vectors of b. A convolution uses it with o = tap,
// i = channel, r = pixel, l = output channel; its weight gradient with o = row, i = pixel, r and l the channels.
// (Winograd's products take rows that lie a_row elements apart instead: pixel tiles, o = 0, i = channel.)
// Each element is one chain of multiply-adds in the order of (o, i), whatever Rows and Vectors are: results do not
// depend on how an image is cut into register blocks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "ulna/backend/tbb/simd.hpp"

namespace ulna::tbb_kernels {

struct OuterProducts {
  const float* a = nullptr;
  const float* b = nullptr;
  const std::ptrdiff_t* a_offset = nullptr;  ///< of each o
  const std::ptrdiff_t* b_offset = nullptr;
  std::ptrdiff_t a_row = 1;  ///< from one row of a to the next; read by kernels for strided rows only
  std::ptrdiff_t a_step = 0;
  std::ptrdiff_t b_step = 0;
  int outer = 0;
  int inner = 0;
  float* sum = nullptr;
  std::ptrdiff_t sum_step = 0;  ///< from one row of sums to the next
  bool accumulate = false;      ///< go on from the sums in memory; false: start from zero
};

using OuterProductsKernel = void (*)(const OuterProducts&);

/// Makes the compiler load x once instead of folding the load into each instruction that uses it.
template <class V>
[[gnu::always_inline]] inline void keep_in_register([[maybe_unused]] V& x) {
#if defined(__x86_64__)
  __asm__("" : "+v"(x.v));
#endif
}

template <class Isa, int Rows, int Vectors, bool StridedRows>
void outer_products(const OuterProducts& p) {
  using V = FloatVec<Isa>;
  V sum[Rows][Vectors];
#pragma GCC unroll 32
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      sum[r][v] = p.accumulate ? V::load(p.sum + r * p.sum_step + v * V::width) : V::zero();
  }
  const std::ptrdiff_t row = StridedRows ? p.a_row : 1;
  for (int o = 0; o < p.outer; ++o) {
    const float* a = p.a + p.a_offset[o];
    const float* b = p.b + p.b_offset[o];
    for (int i = 0; i < p.inner; ++i) {
      V lane[Vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        lane[v] = V::load(b + v * V::width);
        keep_in_register(lane[v]);
      }
#pragma GCC unroll 32
      for (int r = 0; r < Rows; ++r) {
        const V x = V::broadcast(a[r * row]);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(x, lane[v], sum[r][v]);
      }
      a += p.a_step;
      b += p.b_step;
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[r][v].store(p.sum + r * p.sum_step + v * V::width);
  }
}

/// The register blocks that are compiled, and how a row is cut into them. Strided rows need an address each: at
/// most 12.
template <class Isa, bool StridedRows = false>
class RegisterBlocks {
 public:
  /// Most vectors side by side: 1, 2 or 4.
  static constexpr int most_vectors = Isa::registers == 32 ? 4 : 2;
  /// Most sums that any block holds, in floats.
  static constexpr int most_sums = (Isa::registers == 32 ? 24 : 12) * Isa::width;

  static constexpr int most_rows = StridedRows ? 12 : 24;

  /// The widest block, in vectors, that is not wider than `vectors`.
  static constexpr int widest(int vectors) { return vectors >= most_vectors ? most_vectors : vectors >= 2 ? 2 : 1; }

  /// How many of `left` rows the next block takes. Blocks of about equal height: low ones wait for their own sums.
  static constexpr int next_rows(int vectors, int left) {
    const int most = std::min(most_rows, most_sums / Isa::width / vectors);
    const int blocks = (left + most - 1) / most;
    const int height = rounded((left + blocks - 1) / blocks);
    const bool leaves_a_low_one = blocks == 1 && height < left && left - height < 4;
    return leaves_a_low_one ? rounded((left + 1) / 2) : height;
  }

  static OuterProductsKernel kernel(int vectors, int rows) {
    const int i = index(rows);
    if (vectors == 1) return one[static_cast<std::size_t>(i)];
    if (vectors == 2) return two[static_cast<std::size_t>(i)];
    return four[static_cast<std::size_t>(i)];
  }

 private:
  static constexpr std::array<int, 10> heights{1, 2, 3, 4, 5, 6, 8, 12, 16, 24};
  static constexpr int index(int rows) {
    int i = 0;
    while (i + 1 < static_cast<int>(heights.size()) && heights[static_cast<std::size_t>(i) + 1] <= rows) ++i;
    return i;
  }
  static constexpr int rounded(int rows) { return heights[static_cast<std::size_t>(index(rows))]; }

  template <int Rows, int Vectors>
  static constexpr OuterProductsKernel compiled() {
    if constexpr (Rows <= most_rows && Rows * Vectors * Isa::width <= most_sums)
      return &outer_products<Isa, Rows, Vectors, StridedRows>;
    else
      return nullptr;
  }
  template <int V>
  static constexpr std::array<OuterProductsKernel, 10> column() {
    if constexpr (V > most_vectors)
      return {};
    else
      return {compiled<1, V>(), compiled<2, V>(), compiled<3, V>(),  compiled<4, V>(),  compiled<5, V>(),
              compiled<6, V>(), compiled<8, V>(), compiled<12, V>(), compiled<16, V>(), compiled<24, V>()};
  }
  static constexpr std::array<OuterProductsKernel, 10> one = column<1>();
  static constexpr std::array<OuterProductsKernel, 10> two = column<2>();
  static constexpr std::array<OuterProductsKernel, 10> four = column<4>();
};

}  // namespace ulna::tbb_kernels
