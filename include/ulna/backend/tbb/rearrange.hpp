// SPDX-License-Identifier: MIT
// Concatenation, crop, padding and its gradient: copies, row by row.
#pragma once

#include <cassert>

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// Copies the inputs that do not already lie in their range of the output's channels.
template <class Isa, class T = float>
void concat(const Call<T>& call) {
  const Tensor<T>& y = call.output;
  int begin = 0;
  for (int i = 0; i < call.node->inputs(); ++i) {
    const Tensor<T>& x = call.input[static_cast<std::size_t>(i)];
    const int channels = x.shape.channels;
    if (x.data != y.data + begin)
      for_each_block<Isa>(x, [&, begin](int n, Range pixels) {
        copy_pixels<Isa>(x.pixel(n, pixels.begin), x.pixel_stride, y.pixel(n, pixels.begin) + begin, y.pixel_stride,
                         pixels.size(), channels);
      });
    begin += channels;
  }
}

/// y[p] = x[p + pad_before]
template <class Isa, class T = float>
void crop(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const Extent before = call.node->window.pad_before;
  assert(x.shape.depth == 1);
  for_each_row<Isa>(y.batch, y.shape.height, std::ptrdiff_t{y.shape.width} * y.shape.channels, [&](int n, int row) {
    copy_pixels<Isa>(x.row(n, row + before.height) + before.width * x.pixel_stride, x.pixel_stride, y.row(n, row),
                     y.pixel_stride, y.shape.width, y.shape.channels);
  });
}

/// The pixel that padded position p reads along one axis of `size` pixels, -1: none.
[[gnu::always_inline]] inline int padded_source(int p, int before, int size, Border border) {
  const int q = p - before;
  if (q >= 0 && q < size) return q;
  if (border == Border::zero) return -1;
  return q < 0 ? -q : 2 * (size - 1) - q;
}

/// y[p] = x[p - pad_before]; outside zero, or the mirrored pixel
template <class Isa, class T = float>
void pad(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const Window window = call.node->window;
  const int channels = x.shape.channels;
  assert(x.shape.depth == 1);
  for_each_row<Isa>(y.batch, y.shape.height, std::ptrdiff_t{y.shape.width} * channels, [&](int n, int row) {
    const int source = padded_source(row, window.pad_before.height, x.shape.height, window.border);
    T* to = y.row(n, row);
    const auto edge = [&](int column) {
      const int q = source < 0 ? -1 : padded_source(column, window.pad_before.width, x.shape.width, window.border);
      T* at = to + column * y.pixel_stride;
      if (q < 0)
        std::fill_n(at, channels, T{});
      else
        std::copy_n(x.row(n, source) + q * x.pixel_stride, channels, at);
    };
    const int inner = source < 0 ? y.shape.width : window.pad_before.width;
    for (int column = 0; column < inner; ++column) edge(column);
    if (source < 0) return;
    copy_pixels<Isa>(x.row(n, source), x.pixel_stride, to + inner * y.pixel_stride, y.pixel_stride, x.shape.width,
                     channels);
    for (int column = inner + x.shape.width; column < y.shape.width; ++column) edge(column);
  });
}

/// The padded positions that read one pixel along an axis.
struct PaddedReaders {
  int position[3];
  int count = 0;
};
[[gnu::always_inline]] inline PaddedReaders padded_readers(int q, int before, int after, int size, Border border) {
  PaddedReaders r{};
  if (border == Border::reflect && q >= 1 && q <= before) r.position[r.count++] = before - q;
  r.position[r.count++] = before + q;
  const int mirrored = 2 * (size - 1) - q;
  if (border == Border::reflect && mirrored >= size && mirrored < size + after)
    r.position[r.count++] = before + mirrored;
  return r;
}

/// dx[q] = sum of dy over every padded pixel that reads q
template <class Isa, class T = float>
void pad_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& dx = call.output;
  const Window w = call.node->window;
  assert(dx.shape.depth == 1);
  for_each_row<Isa>(dx.batch, dx.shape.height, std::ptrdiff_t{dx.shape.width} * dx.shape.channels, [&](int n, int row) {
    const PaddedReaders ys = padded_readers(row, w.pad_before.height, w.pad_after.height, dx.shape.height, w.border);
    T* to = dx.row(n, row);
    for (int column = 0; column < dx.shape.width; ++column, to += dx.pixel_stride) {
      const PaddedReaders xs = padded_readers(column, w.pad_before.width, w.pad_after.width, dx.shape.width, w.border);
      for_channels<Isa::width>(
          dx.shape.channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            V sum = V::zero();
            for (int i = 0; i < ys.count; ++i)
              for (int j = 0; j < xs.count; ++j)
                sum = sum + V::load(dy.row(n, ys.position[i]) + xs.position[j] * dy.pixel_stride + c);
            sum.store(to + c);
          });
    }
  });
}

}  // namespace ulna::tbb_kernels
