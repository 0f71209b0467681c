// SPDX-License-Identifier: MIT
// Nearest and bilinear upsampling by whole factors, and their gradients. A task computes whole rows of its output.
#pragma once

#include <cassert>
#include <cstdint>

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// y[p] = x[floor(p / factor)]
template <class Isa, class T = float>
void upsample_nearest(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const Extent factor = call.node->window.stride;
  assert(x.shape.depth == 1);
  const std::ptrdiff_t row_elements = std::ptrdiff_t{y.shape.width} * y.shape.channels;
  for_each_row<Isa>(y.batch, y.shape.height, row_elements, [&](int n, int row) {
    const T* from = x.row(n, row / factor.height);
    T* to = y.row(n, row);
    for (int column = 0; column < x.shape.width; ++column) {
      for_channels<Isa::width>(
          x.shape.channels, [&](auto vec, int c) __attribute__((always_inline)) {
            const auto value = decltype(vec)::load(from + c);
            for (int i = 0; i < factor.width; ++i) value.store(to + i * y.pixel_stride + c);
          });
      from += x.pixel_stride;
      to += factor.width * y.pixel_stride;
    }
  });
}

/// dx[q] = sum of dy over the pixels that read q
template <class Isa, class T = float>
void upsample_nearest_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& dx = call.output;
  const Extent factor = call.node->window.stride;
  assert(dx.shape.depth == 1);
  const std::ptrdiff_t row_elements = std::ptrdiff_t{dy.shape.width} * dy.shape.channels * factor.height;
  for_each_row<Isa>(dx.batch, dx.shape.height, row_elements, [&](int n, int row) {
    T* to = dx.row(n, row);
    for (int column = 0; column < dx.shape.width; ++column, to += dx.pixel_stride)
      for_channels<Isa::width>(
          dx.shape.channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            V sum = V::zero();
            for (int i = 0; i < factor.height; ++i) {
              const T* from = dy.row(n, row * factor.height + i) + column * factor.width * dy.pixel_stride + c;
              for (int j = 0; j < factor.width; ++j) sum = sum + V::load(from + j * dy.pixel_stride);
            }
            sum.store(to + c);
          });
  });
}

// --- bilinear ---

/// Where along one axis an output pixel samples the input: `weight` of the way from `low` to `high`.
struct LinearSample {
  int low;
  int high;
  float weight;
};

/// The position as a fraction of integers: without align_corners the weight depends on p modulo the factor alone, so
/// that a tile interpolates with the same bits as the whole image.
[[gnu::always_inline]] inline LinearSample linear_sample(int p, int factor, int size, bool align_corners) {
  const std::int64_t numerator = align_corners ? std::int64_t{p} * (size - 1) : std::max(2 * p + 1 - factor, 0);
  const std::int64_t denominator = align_corners ? std::max(size * factor - 1, 1) : 2 * factor;
  const int low = std::min(static_cast<int>(numerator / denominator), size - 1);
  const double weight = static_cast<double>(numerator % denominator) / static_cast<double>(denominator);
  return {low, std::min(low + 1, size - 1), static_cast<float>(weight)};
}

/// Samples of every output pixel along one axis.
[[gnu::always_inline]] inline void fill_samples(LinearSample* samples, int factor, int size, bool align_corners) {
  for (int p = 0; p < size * factor; ++p) samples[p] = linear_sample(p, factor, size, align_corners);
}

template <class Isa, class T = float>
std::size_t upsample_bilinear_bytes(const Call<T>& call) {
  return aligned_bytes(sizeof(LinearSample) * static_cast<std::size_t>(call.output.shape.width));
}

/// y[p] = linear interpolation of x, along rows and then between them
template <class Isa, class T = float>
void upsample_bilinear(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const Extent factor = call.node->window.stride;
  const bool align_corners = call.node->align_corners;
  assert(x.shape.depth == 1);
  auto* samples = reinterpret_cast<LinearSample*>(call.scratch.data());
  fill_samples(samples, factor.width, x.shape.width, align_corners);
  const std::ptrdiff_t row_elements = std::ptrdiff_t{y.shape.width} * y.shape.channels;
  for_each_row<Isa>(y.batch, y.shape.height, row_elements, [&](int n, int row) {
    const LinearSample sy = linear_sample(row, factor.height, x.shape.height, align_corners);
    const T* upper = x.row(n, sy.low);
    const T* lower = x.row(n, sy.high);
    T* to = y.row(n, row);
    for (int column = 0; column < y.shape.width; ++column, to += y.pixel_stride) {
      const LinearSample sx = samples[column];
      const std::ptrdiff_t left = sx.low * x.pixel_stride;
      const std::ptrdiff_t right = sx.high * x.pixel_stride;
      for_channels<Isa::width>(
          x.shape.channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            const auto between = [](V a, V b, float weight) __attribute__((always_inline)) {
              return fma(b, V::broadcast(weight), a * V::broadcast(1.0f - weight));
            };
            const V a = between(V::load(upper + left + c), V::load(upper + right + c), sx.weight);
            const V b = between(V::load(lower + left + c), V::load(lower + right + c), sx.weight);
            between(a, b, sy.weight).store(to + c);
          });
    }
  });
}

/// The adjoint along one axis: input pixel q gains weights[i] x output pixel first[q] + i for i in
/// [0, offset[q + 1] - offset[q]), weights starting at offset[q]. Each output pixel weighs on two inputs at most.
struct LinearAdjoint {
  int* first;
  int* offset;
  float* weights;

  static std::size_t bytes(int size, int factor) {
    return aligned_bytes(sizeof(int) * static_cast<std::size_t>(2 * size + 1) +
                         sizeof(float) * static_cast<std::size_t>(2 * size * factor));
  }

  LinearAdjoint(std::byte* memory, int size, int factor, bool align_corners)
      : first(reinterpret_cast<int*>(memory)),
        offset(first + size),
        weights(reinterpret_cast<float*>(offset + size + 1)) {
    int next = 0;
    int begin = 0;
    for (int q = 0; q < size; ++q) {
      offset[q] = next;
      while (linear_sample(begin, factor, size, align_corners).high < q) ++begin;
      first[q] = begin;
      for (int p = begin; p < size * factor; ++p) {
        const LinearSample s = linear_sample(p, factor, size, align_corners);
        if (s.low > q) break;
        weights[next++] = (s.low == q ? 1.0f - s.weight : 0.0f) + (s.high == q ? s.weight : 0.0f);
      }
    }
    offset[size] = next;
  }
};

template <class Isa, class T = float>
std::size_t upsample_bilinear_gradient_bytes(const Call<T>& call) {
  const Extent factor = call.node->window.stride;
  return LinearAdjoint::bytes(call.output.shape.height, factor.height) +
         LinearAdjoint::bytes(call.output.shape.width, factor.width);
}

/// dx[q] = sum over the pixels that were interpolated from q, in the same shares
template <class Isa, class T = float>
void upsample_bilinear_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& dx = call.output;
  const Extent factor = call.node->window.stride;
  const bool align_corners = call.node->align_corners;
  assert(dx.shape.depth == 1);
  const LinearAdjoint rows(call.scratch.data(), dx.shape.height, factor.height, align_corners);
  const LinearAdjoint columns(call.scratch.data() + LinearAdjoint::bytes(dx.shape.height, factor.height),
                              dx.shape.width, factor.width, align_corners);
  const std::ptrdiff_t row_elements = std::ptrdiff_t{dy.shape.width} * dy.shape.channels * factor.height;
  for_each_row<Isa>(dx.batch, dx.shape.height, row_elements, [&](int n, int row) {
    T* to = dx.row(n, row);
    for (int column = 0; column < dx.shape.width; ++column, to += dx.pixel_stride)
      for_channels<Isa::width>(
          dx.shape.channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            V sum = V::zero();
            for (int i = rows.offset[row]; i < rows.offset[row + 1]; ++i) {
              const T* from =
                  dy.row(n, rows.first[row] + i - rows.offset[row]) + columns.first[column] * dy.pixel_stride + c;
              V across = V::zero();
              for (int j = columns.offset[column]; j < columns.offset[column + 1]; ++j, from += dy.pixel_stride)
                across = fma(V::load(from), V::broadcast(columns.weights[j]), across);
              sum = fma(across, V::broadcast(rows.weights[i]), sum);
            }
            sum.store(to + c);
          });
  });
}

}  // namespace ulna::tbb_kernels
