// SPDX-License-Identifier: MIT
// The inner loop of the bf16 convolutions: sums of products of bf16 pairs, kept in float registers,
//
//   sum[r][l] (+)= sum over o < outer, i < pairs, j < 2 of
//                    a[a_offset[o] + r a_row + 2 i + j]  b[b_offset[o] + i b_step + 2 l + j]
//
// for Rows rows of a, each contiguous along i, and Vectors vectors of b, whose pairs are interleaved. A convolution
// uses it with o = tap, i = pair of input channels, r = pixel, l = output channel; its weight gradient with o = row,
// i = pair of pixels, r and l the channels.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "ulna/backend/tbb/outer_products.hpp"
#include "ulna/backend/tbb/simd.hpp"

namespace ulna::tbb_kernels {

struct PairProducts {
  const bf16* a = nullptr;
  const bf16* b = nullptr;
  const std::ptrdiff_t* a_offset = nullptr;  ///< of each o
  const std::ptrdiff_t* b_offset = nullptr;
  std::ptrdiff_t a_row = 0;
  std::ptrdiff_t b_step = 0;
  int outer = 0;
  int pairs = 0;
  float* sum = nullptr;
  std::ptrdiff_t sum_step = 0;  ///< from one row of sums to the next
  bool accumulate = false;      ///< go on from the sums in memory; false: start from zero
};

using PairProductsKernel = void (*)(const PairProducts&);

/// A pair of bf16 in each lane.
template <class Isa>
struct PairVec {
  using V = FloatVec<Isa>;
  using Bits = typename V::Bits;

  Bits pairs;

  [[gnu::always_inline]] static inline PairVec load(const bf16* p) {
    PairVec r;
    __builtin_memcpy(&r.pairs, p, sizeof(Bits));
    return r;
  }
  /// The same pair in every lane.
  [[gnu::always_inline]] static inline PairVec broadcast(const bf16* p) {
    std::uint32_t pair;
    __builtin_memcpy(&pair, p, sizeof(pair));
    return {pair - Bits{}};
  }
  /// Pairs of the lanes of two vectors, rounded.
  [[gnu::always_inline]] static inline PairVec join(V first, V second) {
    return {first.bf16_bits() | second.bf16_bits() << 16};
  }
  /// The same of lanes that are bf16 already.
  [[gnu::always_inline]] static inline PairVec join_exact(V first, V second) {
    return {(Bits)first.v >> 16 | (Bits)second.v};
  }
  [[gnu::always_inline]] inline void store(bf16* p) const {
    __builtin_memcpy(static_cast<void*>(p), &pairs, sizeof(Bits));
  }
  [[gnu::always_inline]] inline V first() const { return {(typename V::Native)(pairs << 16)}; }
  [[gnu::always_inline]] inline V second() const { return {(typename V::Native)(pairs & 0xFFFF0000u)}; }

  /// sum + the products of both halves of each lane.
  [[gnu::always_inline]] friend inline V dot(PairVec a, PairVec b, V sum) {
#if defined(__AVX512BF16__)
    if constexpr (Isa::pair_dot == PairDot::avx512)
      return {(typename V::Native)_mm512_dpbf16_ps((__m512)sum.v, (__m512bh)a.pairs, (__m512bh)b.pairs)};
#endif
    return fma(a.second(), b.second(), fma(a.first(), b.first(), sum));
  }
};

template <class Isa, int Rows, int Vectors>
void pair_products(const PairProducts& p) {
  using V = FloatVec<Isa>;
  using Pairs = PairVec<Isa>;
  V sum[Rows][Vectors];
#pragma GCC unroll 32
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
      sum[r][v] = p.accumulate ? V::load(p.sum + r * p.sum_step + v * V::width) : V::zero();
  }
  const std::ptrdiff_t row = p.a_row;
  for (int o = 0; o < p.outer; ++o) {
    // Rows are addressed from every third one, since an address may hold a multiple of 1 or 2 of the distance.
    constexpr int starts = (Rows + 2) / 3;
    const bf16* a[starts];
#pragma GCC unroll 8
    for (int s = 0; s < starts; ++s) a[s] = p.a + p.a_offset[o] + 3 * s * row;
    const bf16* b = p.b + p.b_offset[o];
    for (int i = 0; i < p.pairs; ++i) {
      Pairs lane[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) lane[v] = Pairs::load(b + 2 * v * V::width);
#pragma GCC unroll 32
      for (int r = 0; r < Rows; ++r) {
        const Pairs x = Pairs::broadcast(a[r / 3] + r % 3 * row);
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sum[r][v] = dot(x, lane[v], sum[r][v]);
      }
#pragma GCC unroll 8
      for (int s = 0; s < starts; ++s) a[s] += 2;
      b += p.b_step;
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) sum[r][v].store(p.sum + r * p.sum_step + v * V::width);
  }
}

/// The register blocks that are compiled, and how rows are cut into them.
template <class Isa>
class PairBlocks {
 public:
  static constexpr int most_vectors = 2;
  static constexpr int most_rows = Isa::registers == 32 ? 12 : 8;
  static constexpr int granule = 1;         ///< pairs are a multiple of this
  static constexpr bool pads_rows = false;  ///< whether a block may compute rows behind the last

  /// What a thread sets up around calls of kernels.
  struct Setup {
    Setup() {}  // user-provided, so that an unused one is no warning
  };

  static constexpr int widest(int vectors) { return std::min(vectors, most_vectors); }

  /// How many of `left` rows the next block takes. Blocks of about equal height: low ones wait for their own sums.
  static constexpr int next_rows(int vectors, int left) {
    const int most = std::min(most_rows, most_sums / vectors);
    const int blocks = (left + most - 1) / most;
    return rounded((left + blocks - 1) / blocks);
  }

  static PairProductsKernel kernel(int vectors, int rows) {
    const auto i = static_cast<std::size_t>(index(rows));
    return vectors == 1 ? one[i] : two[i];
  }

 private:
  static constexpr int most_sums = Isa::registers == 32 ? 24 : 8;  // vectors
  static constexpr std::array<int, 9> heights{1, 2, 3, 4, 5, 6, 8, 10, 12};
  static constexpr int index(int rows) {
    int i = 0;
    while (i + 1 < static_cast<int>(heights.size()) && heights[static_cast<std::size_t>(i) + 1] <= rows) ++i;
    return i;
  }
  static constexpr int rounded(int rows) { return heights[static_cast<std::size_t>(index(rows))]; }

  template <int Rows, int Vectors>
  static constexpr PairProductsKernel compiled() {
    if constexpr (Rows <= most_rows && Rows * Vectors <= most_sums)
      return &pair_products<Isa, Rows, Vectors>;
    else
      return nullptr;
  }
  template <int V>
  static constexpr std::array<PairProductsKernel, 9> column() {
    return {compiled<1, V>(), compiled<2, V>(), compiled<3, V>(),  compiled<4, V>(), compiled<5, V>(),
            compiled<6, V>(), compiled<8, V>(), compiled<10, V>(), compiled<12, V>()};
  }
  static constexpr std::array<PairProductsKernel, 9> one = column<1>();
  static constexpr std::array<PairProductsKernel, 9> two = column<2>();
};

}  // namespace ulna::tbb_kernels
