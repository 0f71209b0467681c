// SPDX-License-Identifier: MIT
// Products of matrices, cut into register blocks.
#pragma once

#include <cstddef>

#include "ulna/backend/tbb/outer_products.hpp"
#include "ulna/backend/tbb/tile_products.hpp"

namespace ulna::tbb_kernels {

/// Element (r, i) of a matrix lies at data[r * row_step + i * step].
struct Matrix {
  const float* data;
  std::ptrdiff_t row_step, step;
};

/// sum[r][l] (+)= sum over i < inner of a(r, i) b[i][l], for r < rows and l < lanes, a number of whole vectors. Each
/// element is one chain of multiply-adds. StridedRows: the rows of a are not consecutive floats. `done(r, l, rows,
/// lanes)` is called after each register block, whose sums are in the nearest cache then.
template <class Isa, bool StridedRows>
void multiply(const Matrix& a, const float* b, std::ptrdiff_t b_step, int inner, float* sum, std::ptrdiff_t sum_step,
              int rows, int lanes, bool accumulate, auto&& done) {
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
      done(r, l, height, vectors * Isa::width);
      r += height;
    }
    l += vectors * Isa::width;
  }
}

/// The same of bf16: rows of `a` lie row_step apart, b holds pairs [i][l][2], `pairs` of them from b_step to b_step.
template <class Isa>
void multiply_pairs(const bf16* a, std::ptrdiff_t row_step, const bf16* b, std::ptrdiff_t b_step, int pairs, float* sum,
                    std::ptrdiff_t sum_step, int rows, int lanes, bool accumulate, auto&& done) {
  using Blocks = PairBlocks<Isa>;
  static_assert(!Blocks::pads_rows && Blocks::granule == 1);
  static constexpr std::ptrdiff_t start = 0;
  PairProducts p;
  p.a_offset = p.b_offset = &start;
  p.a_row = row_step;
  p.b_step = b_step;
  p.outer = 1;
  p.pairs = pairs;
  p.sum_step = sum_step;
  p.accumulate = accumulate;
  for (int l = 0; l < lanes;) {
    const int vectors = Blocks::widest((lanes - l) / Isa::width);
    p.b = b + 2 * l;
    for (int r = 0; r < rows;) {
      const int height = Blocks::next_rows(vectors, rows - r);
      p.a = a + r * row_step;
      p.sum = sum + r * sum_step + l;
      Blocks::kernel(vectors, height)(p);
      done(r, l, height, vectors * Isa::width);
      r += height;
    }
    l += vectors * Isa::width;
  }
}

template <class Isa, bool StridedRows>
void multiply(const Matrix& a, const float* b, std::ptrdiff_t b_step, int inner, float* sum, std::ptrdiff_t sum_step,
              int rows, int lanes, bool accumulate) {
  multiply<Isa, StridedRows>(a, b, b_step, inner, sum, sum_step, rows, lanes, accumulate, [](int, int, int, int) {});
}

}  // namespace ulna::tbb_kernels
