// SPDX-License-Identifier: MIT
// Max and average pooling, and their gradients. A task computes whole rows of its output.
#pragma once

#include <cassert>
#include <limits>

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// One axis of a pooling window over `extent` pixels.
struct PoolAxis {
  int kernel, stride, dilation, pad, extent, outputs;

  /// Taps of the window at output o that lie inside the image: [begin, end).
  struct Taps {
    int begin, end;
  };
  [[gnu::always_inline]] Taps taps(int o) const {
    const int first = o * stride - pad;
    const int skipped = first < 0 ? (-first + dilation - 1) / dilation : 0;
    const int fitting = first < extent ? (extent - 1 - first) / dilation + 1 : 0;
    return {std::min(skipped, kernel), std::min(fitting, kernel)};
  }
  /// The pixel that tap t of the window at output o reads.
  [[gnu::always_inline]] int pixel(int o, int t) const { return o * stride + t * dilation - pad; }
  /// Calls visit(o, t) for every window o whose tap t reads pixel q.
  template <class F>
  [[gnu::always_inline]] void for_each_window(int q, const F& visit) const {
    const int reach = q + pad - (kernel - 1) * dilation;
    for (int o = reach > 0 ? (reach + stride - 1) / stride : 0; o * stride <= q + pad && o < outputs; ++o)
      if ((q + pad - o * stride) % dilation == 0) visit(o, (q + pad - o * stride) / dilation);
  }
  /// No pixel is under two windows, and none comes after the last one's.
  bool disjoint() const { return span_of(kernel, dilation) <= stride && outputs * stride >= extent + pad; }
};

struct PoolAxes {
  PoolAxis y, x;
};

[[gnu::always_inline]] inline PoolAxes pool_axes(const Window& w, const Shape& large, const Shape& small) {
  assert(large.depth == 1 && small.depth == 1);
  return {{w.kernel.height, w.stride.height, w.dilation.height, w.pad_before.height, large.height, small.height},
          {w.kernel.width, w.stride.width, w.dilation.width, w.pad_before.width, large.width, small.width}};
}

template <class T>
[[gnu::always_inline]] inline const T* pixel_at(const Tensor<T>& x, int n, int row, int column) {
  return x.pixel(n, std::ptrdiff_t{row} * x.shape.width + column);
}

/// to[p] = finish(fold of combine over the taps inside the image, from `start`).
template <class Isa, class T, class Combine, class Finish>
void pool(const Call<T>& call, float start, const Combine& combine, const Finish& finish) {
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const PoolAxes axes = pool_axes(call.node->window, x.shape, y.shape);
  for_each_row<Isa>(y.batch, y.shape.height, std::ptrdiff_t{x.shape.width} * x.shape.channels, [&](int n, int row) {
    const PoolAxis::Taps ty = axes.y.taps(row);
    T* to = y.row(n, row);
    for (int column = 0; column < y.shape.width; ++column, to += y.pixel_stride) {
      const PoolAxis::Taps tx = axes.x.taps(column);
      for_channels<Isa::width>(
          x.shape.channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            V value = V::broadcast(start);
            for (int i = ty.begin; i < ty.end; ++i) {
              const T* from = pixel_at(x, n, axes.y.pixel(row, i), axes.x.pixel(column, tx.begin)) + c;
              for (int j = tx.begin; j < tx.end; ++j, from += axes.x.dilation * x.pixel_stride)
                value = combine(value, V::load(from));
            }
            finish(value).store(to + c);
          });
    }
  });
}

/// y[p][c] = max over taps inside the image
template <class Isa, class T = float>
void max_pool(const Call<T>& call) {
  pool<Isa>(
      call, -std::numeric_limits<float>::infinity(),
      [](auto a, auto b) __attribute__((always_inline)) { return max(a, b); },
      [](auto value) __attribute__((always_inline)) { return value; });
}

/// Row `row` of a 2x2 max pool of stride 2, of its columns [first, last) and channels [k, k + channels): for
/// convolutions, while the rows it reads are in a cache. The bits of max_pool().
template <class Isa, class T>
void max_pool_row(const Call<T>& call, int n, int row, int first, int last, int k, int channels) {
  const Tensor<T>& x = call.input[0];
  for (int column = first; column < last; ++column) {
    const T* from = pixel_at(x, n, 2 * row, 2 * column) + k;
    T* to = call.output.row(n, row) + column * call.output.pixel_stride + k;
    for_channels<Isa::width>(
        channels, [&](auto vec, int c) __attribute__((always_inline)) {
          using V = decltype(vec);
          V best = V::broadcast(-std::numeric_limits<float>::infinity());
          for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j) best = max(best, V::load(from + (i * x.shape.width + j) * x.pixel_stride + c));
          best.store(to + c);
        });
  }
}

/// y[p][c] = (1 / taps) sum over taps inside the image
template <class Isa, class T = float>
void average_pool(const Call<T>& call) {
  const float share = 1.0f / static_cast<float>(call.node->window.taps());
  pool<Isa>(
      call, 0.0f, [](auto a, auto b) __attribute__((always_inline)) { return a + b; },
      [share](auto sum) __attribute__((always_inline)) { return sum * decltype(sum)::broadcast(share); });
}

/// Where windows are disjoint: each gives its dy to the first tap that holds its maximum, zero to the others. A task
/// owns the band of rows from its windows' first one to the next windows' first one.
template <class Isa, class T = float>
void max_pool_gradient_disjoint(const Call<T>& call, const PoolAxes& axes) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const Tensor<T>& dx = call.output;
  const int channels = x.shape.channels;
  const bool covered = call.node->window.kernel == call.node->window.stride && axes.y.dilation * axes.x.dilation == 1;
  const std::ptrdiff_t band = std::ptrdiff_t{x.shape.width} * channels * axes.y.stride;
  for_each_row<Isa>(dy.batch, dy.shape.height, band, [&](int n, int row) {
    if (!covered)
      for (int q = std::max(axes.y.pixel(row, 0), 0); q < std::min(axes.y.pixel(row + 1, 0), x.shape.height); ++q)
        for (int column = 0; column < x.shape.width; ++column)
          std::fill_n(dx.pixel(n, std::ptrdiff_t{q} * x.shape.width + column), channels, T{});
    const PoolAxis::Taps ty = axes.y.taps(row);
    const T* from = dy.row(n, row);
    for (int column = 0; column < dy.shape.width; ++column, from += dy.pixel_stride) {
      const PoolAxis::Taps tx = axes.x.taps(column);
      const auto for_each_tap = [&](const auto& visit) __attribute__((always_inline)) {
        for (int i = ty.begin; i < ty.end; ++i)
          for (int j = tx.begin; j < tx.end; ++j)
            visit(std::ptrdiff_t{axes.y.pixel(row, i)} * x.shape.width + axes.x.pixel(column, j));
      };
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            V best = V::broadcast(-std::numeric_limits<float>::infinity());
            for_each_tap([&](std::ptrdiff_t q)
                             __attribute__((always_inline)) { best = max(best, V::load(x.pixel(n, q) + c)); });
            V rest = V::load(from + c);
            for_each_tap([&](std::ptrdiff_t q) __attribute__((always_inline)) {
              const V value = V::load(x.pixel(n, q) + c);
              select_less(value, best, V::zero(), rest).store(dx.pixel(n, q) + c);
              rest = select_less(value, best, rest, V::zero());
            });
          });
    }
  });
}

/// dx[q] = sum of dy over the windows in which q is the first tap that holds the maximum.
template <class Isa, class T = float>
void max_pool_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const Tensor<T>& dx = call.output;
  const PoolAxes axes = pool_axes(call.node->window, x.shape, dy.shape);
  if (axes.y.disjoint() && axes.x.disjoint()) return max_pool_gradient_disjoint<Isa>(call, axes);
  const int channels = x.shape.channels;
  for_each_row<Isa>(dx.batch, dx.shape.height, std::ptrdiff_t{x.shape.width} * channels, [&](int n, int row) {
    for (int column = 0; column < x.shape.width; ++column)
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            const V value = V::load(pixel_at(x, n, row, column) + c);
            V sum = V::zero();
            axes.y.for_each_window(
                row, [&](int oy, int ti) __attribute__((always_inline)) {
                  axes.x.for_each_window(
                      column, [&](int ox, int tj) __attribute__((always_inline)) {
                        V share = V::load(pixel_at(dy, n, oy, ox) + c);
                        const PoolAxis::Taps ty = axes.y.taps(oy);
                        const PoolAxis::Taps tx = axes.x.taps(ox);
                        for (int i = ty.begin; i < ty.end; ++i)
                          for (int j = tx.begin; j < tx.end; ++j) {
                            const V other = V::load(pixel_at(x, n, axes.y.pixel(oy, i), axes.x.pixel(ox, j)) + c);
                            if (i < ti || (i == ti && j < tj))
                              share = select_less(other, value, share,
                                                  V::zero());  // an equal tap before q would be the first
                            else
                              share = select_greater(other, value, V::zero(), share);
                          }
                        sum = sum + share;
                      });
                });
            sum.store(dx.row(n, row) + column * dx.pixel_stride + c);
          });
  });
}

/// dx[q] = (1 / taps) sum of dy over the windows that contain q
template <class Isa, class T = float>
void average_pool_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& dx = call.output;
  const PoolAxes axes = pool_axes(call.node->window, dx.shape, dy.shape);
  const float scale = 1.0f / static_cast<float>(call.node->window.taps());
  const int channels = dx.shape.channels;
  for_each_row<Isa>(dx.batch, dx.shape.height, std::ptrdiff_t{dx.shape.width} * channels, [&](int n, int row) {
    for (int column = 0; column < dx.shape.width; ++column)
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            V sum = V::zero();
            axes.y.for_each_window(
                row, [&](int oy, int) __attribute__((always_inline)) {
                  axes.x.for_each_window(
                      column, [&](int ox, int)
                                  __attribute__((always_inline)) { sum = sum + V::load(pixel_at(dy, n, oy, ox) + c); });
                });
            (sum * V::broadcast(scale)).store(dx.row(n, row) + column * dx.pixel_stride + c);
          });
  });
}

}  // namespace ulna::tbb_kernels
