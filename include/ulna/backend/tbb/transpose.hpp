// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>

#include "ulna/backend/tbb/simd.hpp"

namespace ulna::tbb_kernels {

namespace detail {
/// The lanes of a and b in turn, from their lower (Half = 0) or upper (Half = 1) halves.
template <int Half, class V, std::size_t... I>
[[gnu::always_inline]] inline V interleave(V a, V b, std::index_sequence<I...>) {
  return {
      __builtin_shufflevector(a.v, b.v, static_cast<int>(I / 2 + I % 2 * sizeof...(I) + Half * sizeof...(I) / 2)...)};
}

/// log2(width) perfect shuffles of the rows transpose a square of vectors.
template <int Width>
[[gnu::always_inline]] inline void transpose_square(Vec<float, Width> (&row)[Width]) {
  constexpr std::make_index_sequence<Width> lanes{};
  Vec<float, Width> next[Width];
#pragma GCC unroll 4
  for (int stage = 1; stage < Width; stage *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < Width / 2; ++i) {
      next[2 * i] = interleave<0>(row[i], row[i + Width / 2], lanes);
      next[2 * i + 1] = interleave<1>(row[i], row[i + Width / 2], lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < Width; ++i) row[i] = next[i];
  }
}
}  // namespace detail

/// to[c to_step + r] = from[r from_step + c] for r < rows, c < columns.
/// May write zeros behind the rows, up to the next multiple of the vector width.
template <class Isa, class T, class U>
void transpose(const T* from, std::ptrdiff_t from_step, int rows, int columns, U* to, std::ptrdiff_t to_step) {
  using V = FloatVec<Isa>;
  constexpr int W = V::width;
  int c = 0;
  for (; c + W <= columns; c += W) {
    for (int r = 0; r < rows; r += W) {
      V square[W];
      const int valid = rows - r < W ? rows - r : W;
      const T* source = from + r * from_step + c;
      if (valid == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = V::load(source + i * from_step);
      } else {
        for (int i = 0; i < W; ++i) square[i] = i < valid ? V::load(source + i * from_step) : V::zero();
      }
      detail::transpose_square(square);
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) square[i].store(to + (c + i) * to_step + r);
    }
  }
  for (; c < columns; ++c)
    for (int r = 0; r < rows; ++r) to[c * to_step + r] = static_cast<U>(from[r * from_step + c]);
}

}  // namespace ulna::tbb_kernels
