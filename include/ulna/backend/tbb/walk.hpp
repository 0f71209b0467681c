// SPDX-License-Identifier: MIT
// How the memory-bound kernels walk tensors: once over memory, vectors across channels, tasks over blocks of pixels.
//
// Where every operand is dense, a block of pixels is one flat array. Constants that differ by channel then repeat with
// a period that is a multiple of both the channels and the vector width, so that 1, 3 or 16 channels fill whole
// vectors.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>

#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

/// Elements that one task handles: enough to hide the price of a task, few enough to share out evenly.
inline constexpr std::ptrdiff_t block_elements = 16384;

/// Per-channel constants, repeated so that a flat array of pixels can be walked in whole vectors.
struct Lanes {
  int channels;
  int period;  ///< lanes after which the constants repeat; lane l belongs to channel l % channels
  int stride;  ///< floats from one row of constants to the next, whole vectors
};

template <class Isa>
[[gnu::always_inline]] inline Lanes lanes_of(int channels) {
  constexpr int longest = 1024;
  int period = std::lcm(channels, Isa::width);
  if (period > longest) period = channels;
  for (const int once = period; period < 4 * Isa::width;) period += once;
  return {channels, period, (period + Isa::width - 1) / Isa::width * Isa::width};
}

/// Writes one row of constants: value(channel) at every lane, zero in the rest of the last vector.
template <class Isa, class F>
void fill_lanes(const Lanes& lanes, float* row, F value) {
  for (int c = 0; c < lanes.channels; ++c) row[c] = static_cast<float>(value(c));
  for (int l = lanes.channels; l < lanes.period; ++l) row[l] = row[l - lanes.channels];
  for (int l = lanes.period; l < lanes.stride; ++l) row[l] = 0.0f;
}

template <class T, std::size_t N>
using Operands = std::array<const Tensor<T>*, N>;

template <class T, std::size_t N>
[[gnu::always_inline]] inline bool all_dense(const Operands<T, N>& x) {
  for (const Tensor<T>* t : x)
    if (t->pixel_stride != t->shape.channels) return false;
  return true;
}

/// Calls f(sample, pixels) for blocks of pixels of every sample, in parallel.
template <class Isa, class T, class F>
void for_each_block(const Tensor<T>& y, const F& f) {
  const std::ptrdiff_t pixels = y.pixels();
  const std::ptrdiff_t each = std::max<std::ptrdiff_t>(1, block_elements / y.shape.channels);
  const auto blocks = static_cast<int>((pixels + each - 1) / each);
  parallel_tasks<Isa>(y.batch * blocks, [&](int task) {
    const std::ptrdiff_t begin = task % blocks * each;
    f(task / blocks, Range{begin, std::min(begin + each, pixels)});
  });
}

/// Calls f(sample, row) for every row of every sample, in parallel over groups of rows of about `block_elements`.
template <class Isa, class F>
void for_each_row(int batch, int rows, std::ptrdiff_t row_elements, const F& f) {
  const int each = static_cast<int>(std::clamp<std::ptrdiff_t>(block_elements / row_elements, 1, rows));
  const int blocks = (rows + each - 1) / each;
  parallel_tasks<Isa>(batch * blocks, [&](int task) {
    const int begin = task % blocks * each;
    for (int row = begin; row < std::min(begin + each, rows); ++row) f(task / blocks, row);
  });
}

/// Covers the channels of a pixel with whole vectors, then with narrower ones: f(V{}, first channel). A channel is
/// always computed by the same code.
template <int Width, class F>
[[gnu::always_inline]] inline void for_channels(int channels, const F& f, int c = 0) {
  for (; c + Width <= channels; c += Width) f(Vec<float, Width>{}, c);
  if (Width > 1 && c < channels) for_channels<(Width > 4 ? Width / 2 : 1)>(channels, f, c);
}

/// Copies `count` pixels, converting between float and bf16 where they differ.
template <class Isa, class T, class U>
void copy_pixels(const T* from, std::ptrdiff_t from_stride, U* to, std::ptrdiff_t to_stride, std::ptrdiff_t count,
                 int channels) {
  if (std::is_same_v<T, U> && from_stride == channels && to_stride == channels) {
    std::memcpy(static_cast<void*>(to), from, static_cast<std::size_t>(count * channels) * sizeof(T));
    return;
  }
  for (std::ptrdiff_t p = 0; p < count; ++p, from += from_stride, to += to_stride)
    for_channels<Isa::width>(
        channels, [&](auto vec, int c) __attribute__((always_inline)) { decltype(vec)::load(from + c).store(to + c); });
}

/// y[e] = f(sample, lane, x values at e) for every element e. `lane` tells the channel as `Lanes` does.
/// f gets N vectors of any width and must treat their lanes alike.
template <class Isa, std::size_t N, class T, class F>
void map_elements(const Tensor<T>& y, const Operands<std::type_identity_t<T>, N>& x, const Lanes& lanes, const F& f) {
  const bool dense = all_dense(x) && y.pixel_stride == y.shape.channels;
  for_each_block<Isa>(y, [&](int n, Range pixels) {
    const int channels = y.shape.channels;
    T* out = y.pixel(n, pixels.begin);
    std::array<const T*, N> in{};
    for (std::size_t i = 0; i < N; ++i) in[i] = x[i]->pixel(n, pixels.begin);

    const auto at = [&](auto vec, std::ptrdiff_t e, int lane) __attribute__((always_inline)) {
      decltype(vec) v[N];
      for (std::size_t i = 0; i < N; ++i) v[i] = decltype(vec)::load(in[i] + e);
      f(n, lane, v).store(out + e);
    };
    if (dense) {
      const std::ptrdiff_t length = pixels.size() * channels;
      for (std::ptrdiff_t e = 0; e < length; e += lanes.period) {
        const auto count = static_cast<int>(std::min<std::ptrdiff_t>(lanes.period, length - e));
        for_channels<Isa::width>(
            count, [&](auto vec, int lane) __attribute__((always_inline)) { at(vec, e + lane, lane); });
      }
    } else {
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            for (std::ptrdiff_t p = 0; p < pixels.size(); ++p) {
              V v[N];
              for (std::size_t i = 0; i < N; ++i) v[i] = V::load(in[i] + p * x[i]->pixel_stride + c);
              f(n, c, v).store(out + p * y.pixel_stride + c);
            }
          });
    }
  });
}

/// The same without constants that differ by channel: y[e] = f(x values at e).
template <class Isa, std::size_t N, class T, class F>
void map_elements(const Tensor<T>& y, const Operands<std::type_identity_t<T>, N>& x, const F& f) {
  constexpr int whole = 1 << 30;  // a row of any length is one period
  map_elements<Isa>(
      y, x, Lanes{y.shape.channels, whole, whole}, [&](int, int, const auto* v) __attribute__((always_inline)) {
        return f(v);
      });
}

// --- sums over pixels ---

/// Reductions compute on half vectors of float and sum in whole vectors of double: no cancellation to think about.
template <class Isa>
using HalfVec = Vec<float, Isa::width / 2>;
template <class Isa>
using DoubleVec = Vec<double, Isa::width / 2>;

template <class Isa>
[[gnu::always_inline]] inline DoubleVec<Isa> to_double(HalfVec<Isa> x) {
  return {__builtin_convertvector(x.v, typename DoubleVec<Isa>::Native)};
}

/// How a reduction over the pixels of a sample is cut into tasks: a function of the shape alone.
[[gnu::always_inline]] inline int reduction_parts(const Shape& s) {
  return static_cast<int>(std::clamp<std::int64_t>(std::min(s.size() / 32768, s.pixels() / 64), 1, 32));
}

/// Bytes that `sum_channels` needs for K sums.
template <class Isa, class T>
std::size_t sum_channels_bytes(const Tensor<T>& x, int sums) {
  return sizeof(double) * static_cast<std::size_t>(lanes_of<Isa>(x.shape.channels).stride) *
         static_cast<std::size_t>(sums * reduction_parts(x.shape) * x.batch);
}

/// Adds f's terms over one task's pixels into `lane_sums` [K][lanes.stride].
template <class Isa, int K, class T, std::size_t N, class F>
void sum_pixels(const Operands<T, N>& x, const Lanes& lanes, int n, Range pixels, double* lane_sums, const F& f) {
  using V = HalfVec<Isa>;
  using D = DoubleVec<Isa>;
  constexpr int width = V::width;
  // a matrix with `columns` lanes; its last row is short when flat pixels do not fill it
  const bool dense = all_dense(x);
  const int columns = dense ? lanes.period : lanes.channels;
  const std::ptrdiff_t elements = pixels.size() * lanes.channels;
  const std::ptrdiff_t rows = (elements + columns - 1) / columns;
  const auto last = static_cast<int>(elements - (rows - 1) * columns);
  std::array<const T*, N> base{};
  std::array<std::ptrdiff_t, N> stride{};
  for (std::size_t i = 0; i < N; ++i) {
    base[i] = x[i]->pixel(n, pixels.begin);
    stride[i] = dense ? lanes.period : x[i]->pixel_stride;
  }
  // `Group` vectors of lanes, from `lane` on, over rows [top, bottom) with their sums in registers
  const auto walk = [&]<std::size_t... Group>(std::index_sequence<Group...>, std::ptrdiff_t top, std::ptrdiff_t bottom,
                                              int lane) __attribute__((always_inline)) {
    constexpr int group = static_cast<int>(sizeof...(Group));
    D sum[group][K];
    for (int k = 0; k < K; ++k)
      ((sum[Group][k] = D::load(lane_sums + k * lanes.stride + lane + static_cast<int>(Group) * width)), ...);
    const std::ptrdiff_t whole = std::min(bottom, columns - lane < group * width ? top
                                                  : last < columns               ? rows - 1
                                                                                 : rows);
    V v[N];
    const auto add = [&](std::ptrdiff_t r, int g, int count) __attribute__((always_inline)) {
      for (std::size_t i = 0; i < N; ++i)
        v[i] = count == width ? V::load(base[i] + r * stride[i] + lane + g * width)
                              : V::load_partial(base[i] + r * stride[i] + lane + g * width, count);
      f(n, lane + g * width, v, sum[g]);
    };
    std::ptrdiff_t r = top;
    for (; r < whole; ++r) (add(r, static_cast<int>(Group), width), ...);
    for (; r < bottom; ++r) {
      const int left = (r == rows - 1 ? last : columns) - lane;
      const auto add_some = [&](int g) __attribute__((always_inline)) {
        if (g * width < left) add(r, g, std::min(width, left - g * width));
      };
      (add_some(static_cast<int>(Group)), ...);  // indices known when compiling keep the sums in registers
    }
    for (int k = 0; k < K; ++k)
      (sum[Group][k].store(lane_sums + k * lanes.stride + lane + static_cast<int>(Group) * width), ...);
  };
  // rows that fit the nearest cache are walked column after column
  constexpr int group = 4;
  const std::ptrdiff_t rows_each = std::max(4, 4096 / columns);
  for (std::ptrdiff_t top = 0; top < rows; top += rows_each) {
    const std::ptrdiff_t bottom = std::min(rows, top + rows_each);
    int lane = 0;
    for (; lane + group * width <= columns; lane += group * width)
      walk(std::make_index_sequence<group>{}, top, bottom, lane);
    for (; lane < columns; lane += width) walk(std::make_index_sequence<1>{}, top, bottom, lane);
  }
}

/// Sums K terms a channel over pixels: f(sample, lane, x values, sums) adds to K vectors of double, and must add zero
/// where all values are zero. Then finish(record, sums [K][stride]) with the channels' sums at the head of each row:
/// once a sample, or once for the batch.
template <class Isa, int K, std::size_t N, class T = float, class F, class G>
void sum_channels(const Operands<T, N>& x, bool over_batch, std::byte* scratch, const F& f, const G& finish) {
  using D = DoubleVec<Isa>;
  const Tensor<T>& first = *x[0];
  const Lanes lanes = lanes_of<Isa>(first.shape.channels);
  const int parts = reduction_parts(first.shape);
  const std::ptrdiff_t size = std::ptrdiff_t{K} * lanes.stride;
  double* partial = reinterpret_cast<double*>(scratch);
  parallel_tasks<Isa>(first.batch * parts, [&](int task) {
    double* sums = partial + task * size;
    std::fill_n(sums, size, 0.0);
    sum_pixels<Isa, K>(x, lanes, task / parts, part_of(first.pixels(), parts, task % parts), sums, f);
  });
  const int records = over_batch ? 1 : first.batch;
  const int tasks = first.batch * parts / records;
  for (int record = 0; record < records; ++record) {
    double* sums = partial + record * tasks * size;
    for (int task = 1; task < tasks; ++task)
      for (std::ptrdiff_t i = 0; i < size; i += D::width)
        (D::load(sums + i) + D::load(sums + task * size + i)).store(sums + i);
    for (int k = 0; k < K; ++k)
      for (int l = lanes.channels; l < lanes.period; ++l)
        sums[k * lanes.stride + l % lanes.channels] += sums[k * lanes.stride + l];
    finish(record, sums);
  }
}

}  // namespace ulna::tbb_kernels
