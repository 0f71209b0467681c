// SPDX-License-Identifier: MIT
// Winograd's transforms (backend/winograd.hpp) of whole squares, channels in vectors.
#pragma once

#include "ulna/backend/tbb/simd.hpp"
#include "ulna/backend/winograd.hpp"

namespace ulna::winograd {

/// Which row of a transform comes k-th.
template <class Line>
constexpr int row_of(int k) {
  if constexpr (requires { Line::order; })
    return Line::order[k];
  else
    return k;
}

/// Applies `Line` to the columns of a square of load(i, j) and then to the rows of the result: store(i, j, value).
/// In `Parts` passes, each for some of the rows, so that what lies between the two steps fits into the registers.
template <class Line, class V, int Parts = 1, class Load, class Store>
[[gnu::always_inline]] inline void transform(const Load& load, const Store& store) {
  constexpr int rows = Line::to / Parts;
#pragma GCC unroll 8
  for (int first = 0; first < Line::to; first += rows) {
    V middle[rows][Line::from];
#pragma GCC unroll 8
    for (int j = 0; j < Line::from; ++j) {
      V in[Line::from], out[Line::to];
#pragma GCC unroll 8
      for (int i = 0; i < Line::from; ++i) in[i] = load(i, j);
      Line::apply(in, out);
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i) middle[i][j] = out[row_of<Line>(first + i)];
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      V out[Line::to];
      Line::apply(middle[i], out);
#pragma GCC unroll 8
      for (int j = 0; j < Line::to; ++j) store(row_of<Line>(first + i), j, out[j]);
    }
  }
}

}  // namespace ulna::winograd
