// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "ulna/backend/tbb/simd.hpp"

namespace ulna::tbb_kernels {

namespace detail {
/// The lanes of a and b in turn, from their lower (Half = 0) or upper (Half = 1) halves. The lanes are written out
/// because nvcc's front hands a pack that is expanded here on to the host's compiler without its dots.
template <int Half, int Width>
[[gnu::always_inline]] inline Vec<float, Width> interleave(Vec<float, Width> x, Vec<float, Width> y) {
  static_assert(Width == 4 || Width == 8 || Width == 16);
  constexpr int a = Half * Width / 2;
  constexpr int b = a + Width;
  if constexpr (Width == 4)
    return {__builtin_shufflevector(x.v, y.v, a, b, a + 1, b + 1)};
  else if constexpr (Width == 8)
    return {__builtin_shufflevector(x.v, y.v, a, b, a + 1, b + 1, a + 2, b + 2, a + 3, b + 3)};
  else
    return {__builtin_shufflevector(x.v, y.v, a, b, a + 1, b + 1, a + 2, b + 2, a + 3, b + 3, a + 4, b + 4, a + 5,
                                    b + 5, a + 6, b + 6, a + 7, b + 7)};
}

/// log2(width) perfect shuffles of the rows transpose a square of vectors.
template <int Width>
[[gnu::always_inline]] inline void transpose_square(Vec<float, Width> (&row)[Width]) {
  Vec<float, Width> next[Width];
#pragma GCC unroll 4
  for (int stage = 1; stage < Width; stage *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < Width / 2; ++i) {
      next[2 * i] = interleave<0>(row[i], row[i + Width / 2]);
      next[2 * i + 1] = interleave<1>(row[i], row[i + Width / 2]);
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
