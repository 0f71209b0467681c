// SPDX-License-Identifier: MIT
// Products of matrices, cut into register blocks.
#pragma once

#include <cstddef>

#include "ulna/backend/tbb/outer_products.hpp"

namespace ulna::tbb_kernels {

/// Element (r, i) of a matrix lies at data[r * row_step + i * step].
struct Matrix {
  const float* data;
  std::ptrdiff_t row_step, step;
};

/// sum[r][l] (+)= sum over i < inner of a(r, i) b[i][l], for r < rows and l < lanes, a number of whole vectors. Each
/// element is one chain of multiply-adds. StridedRows: the rows of a are not consecutive floats.
template <class Isa, bool StridedRows>
void multiply(const Matrix& a, const float* b, std::ptrdiff_t b_step, int inner, float* sum, std::ptrdiff_t sum_step,
              int rows, int lanes, bool accumulate) {
  using Blocks = RegisterBlocks<Isa, StridedRows>;
  static constexpr std::ptrdiff_t start = 0;
  OuterProducts p;
  p.a_offset = p.b_offset = &start;
  p.a_row = a.row_step;
  p.a_step = a.step;
  p.b_step = b_step;
  p.outer = 1;
  p.inner = inner;
  p.sum_step = sum_step;
  p.accumulate = accumulate;
  for (int l = 0; l < lanes;) {
    const int vectors = Blocks::widest((lanes - l) / Isa::width);
    p.b = b + l;
    for (int r = 0; r < rows;) {
      const int height = Blocks::next_rows(vectors, rows - r);
      p.a = a.data + r * a.row_step;
      p.sum = sum + r * sum_step + l;
      Blocks::kernel(vectors, height)(p);
      r += height;
    }
    l += vectors * Isa::width;
  }
}

}  // namespace ulna::tbb_kernels
