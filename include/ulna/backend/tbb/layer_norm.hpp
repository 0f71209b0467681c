// SPDX-License-Identifier: MIT
// Layer normalisation: see op/layer_norm.hpp for the formulas. A pixel's channels stay in the nearest cache while they
// are read again: for the mean, for the variance about it, and for the result.
#pragma once

#include <cmath>

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// Sums K terms over the channels of a pixel: f(V{}, c, terms) writes K vectors, of any width, from channel c on.
template <class Isa, int K, class F>
[[gnu::always_inline]] inline std::array<float, K> sum_over_channels(int channels, const F& f) {
  using V = FloatVec<Isa>;
  constexpr int group = 4;  // independent sums, so that additions overlap
  V sum[group][K];
  for (int g = 0; g < group; ++g)
    for (int k = 0; k < K; ++k) sum[g][k] = V::zero();
  int begin = 0;
  for (; begin + group * V::width <= channels; begin += group * V::width) {
#pragma GCC unroll 4
    for (int g = 0; g < group; ++g) {
      V term[K];
      f(V{}, begin + g * V::width, term);
      for (int k = 0; k < K; ++k) sum[g][k] = sum[g][k] + term[k];
    }
  }
  std::array<float, K> rest{};
  for_channels<V::width>(
      channels,
      [&](auto vec, int c) __attribute__((always_inline)) {
        using Some = decltype(vec);
        Some term[K];
        f(vec, c, term);
        for (int k = 0; k < K; ++k) {
          if constexpr (Some::width == V::width)
            sum[0][k] = sum[0][k] + term[k];
          else
            rest[static_cast<std::size_t>(k)] += reduce_add(term[k]);
        }
      },
      begin);
  for (int k = 0; k < K; ++k)
    rest[static_cast<std::size_t>(k)] += reduce_add((sum[0][k] + sum[1][k]) + (sum[2][k] + sum[3][k]));
  return rest;
}

/// Of the channels of one pixel.
struct PixelMoments {
  float mean, inverse;  ///< inverse = 1 / sqrt(variance + epsilon)
};

template <class Isa, class T>
[[gnu::always_inline]] inline PixelMoments pixel_moments(const T* x, int channels, float epsilon) {
  const auto [sum] = sum_over_channels<Isa, 1>(
      channels, [x](auto vec, int c, auto* term)
                    __attribute__((always_inline)) { term[0] = decltype(vec)::load(x + c); });
  const float mean = sum / static_cast<float>(channels);
  const auto [squares] = sum_over_channels<Isa, 1>(
      channels, [ x, mean ](auto vec, int c, auto* term) __attribute__((always_inline)) {
        using V = decltype(vec);
        const V centred = V::load(x + c) - V::broadcast(mean);
        term[0] = centred * centred;
      });
  return {mean, 1.0f / std::sqrt(squares / static_cast<float>(channels) + epsilon)};
}

/// y = gamma xh + beta
template <class Isa, class T = float>
void layer_norm(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const float* gamma = held_as<float>(call.input[1]).data;
  const float* beta = held_as<float>(call.input[2]).data;
  const int channels = x.shape.channels;
  for_each_block<Isa>(call.output, [&](int n, Range pixels) {
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p) {
      const T* from = x.pixel(n, p);
      T* to = call.output.pixel(n, p);
      const PixelMoments m = pixel_moments<Isa>(from, channels, call.node->norm.epsilon);
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            const V xh = (V::load(from + c) - V::broadcast(m.mean)) * V::broadcast(m.inverse);
            fma(xh, V::load(gamma + c), V::load(beta + c)).store(to + c);
          });
    }
  });
}

/// dx = (g - mean(g) - xh mean(g xh)) / sqrt(variance + epsilon), g = gamma dy
template <class Isa, class T = float>
void layer_norm_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const float* gamma = held_as<float>(call.input[2]).data;
  const int channels = x.shape.channels;
  for_each_block<Isa>(call.output, [&](int n, Range pixels) {
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p) {
      const T* from = x.pixel(n, p);
      const T* slope = dy.pixel(n, p);
      T* to = call.output.pixel(n, p);
      const PixelMoments m = pixel_moments<Isa>(from, channels, call.node->norm.epsilon);
      const auto [sum, product] = sum_over_channels<Isa, 2>(
          channels, [&](auto vec, int c, auto* term) __attribute__((always_inline)) {
            using V = decltype(vec);
            term[0] = V::load(slope + c) * V::load(gamma + c);
            term[1] = term[0] * (V::load(from + c) - V::broadcast(m.mean));
          });
      const float mean = sum / static_cast<float>(channels);
      const float tilt = product / static_cast<float>(channels) * m.inverse * m.inverse;
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            const V g = V::load(slope + c) * V::load(gamma + c);
            const V centred = V::load(from + c) - V::broadcast(m.mean);
            ((g - V::broadcast(mean) - centred * V::broadcast(tilt)) * V::broadcast(m.inverse)).store(to + c);
          });
    }
  });
}

/// Room for the sums of every task of layer_norm_sums.
template <class Isa, class T = float>
std::size_t layer_norm_sums_bytes(const Call<T>& call) {
  const Tensor<T>& x = call.input[1];
  return aligned_bytes(sizeof(double) * 2 * static_cast<std::size_t>(x.shape.channels) *
                       static_cast<std::size_t>(reduction_parts(x.shape) * x.batch));
}

/// record {2 C}: sum dy, then sum dy xh, over the pixels of each sample
template <class Isa, class T = float>
void layer_norm_sums(const Call<T>& call) {
  constexpr int at_once = 16;  // pixels summed in registers before their sums are added in double
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const int channels = x.shape.channels;
  const int parts = reduction_parts(x.shape);
  const Tensor<float> records = held_as<float>(call.output);
  double* partial = reinterpret_cast<double*>(call.scratch.data());
  const auto sums_of = [&](int n, int part) { return partial + (std::ptrdiff_t{n} * parts + part) * 2 * channels; };
  parallel_tasks<Isa>(x.batch * parts, [&](int task) {
    const int n = task / parts;
    double* sums = sums_of(n, task % parts);
    std::fill_n(sums, 2 * channels, 0.0);
    const Range all = part_of(x.pixels(), parts, task % parts);
    PixelMoments m[at_once];
    for (std::ptrdiff_t first = all.begin; first < all.end; first += at_once) {
      const auto count = static_cast<int>(std::min<std::ptrdiff_t>(at_once, all.end - first));
      for (int p = 0; p < count; ++p)
        m[p] = pixel_moments<Isa>(x.pixel(n, first + p), channels, call.node->norm.epsilon);
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            V of_dy = V::zero();
            V of_product = V::zero();
            for (int p = 0; p < count; ++p) {
              const V g = V::load(dy.pixel(n, first + p) + c);
              const V centred = V::load(x.pixel(n, first + p) + c) - V::broadcast(m[p].mean);
              of_dy = of_dy + g;
              of_product = fma(g, centred * V::broadcast(m[p].inverse), of_product);
            }
            for (int i = 0; i < V::width; ++i) {
              sums[c + i] += static_cast<double>(of_dy.v[i]);
              sums[channels + c + i] += static_cast<double>(of_product.v[i]);
            }
          });
    }
  });
  for (int n = 0; n < x.batch; ++n)
    for (int c = 0; c < 2 * channels; ++c) {
      double sum = 0;
      for (int part = 0; part < parts; ++part) sum += sums_of(n, part)[c];
      records.sample(n)[c] = static_cast<float>(sum);
    }
}

}  // namespace ulna::tbb_kernels
