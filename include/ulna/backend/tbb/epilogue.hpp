// SPDX-License-Identifier: MIT
// Bias, activation and residual, applied to a block of sums while it is in the first-level cache.
#pragma once

#include <cstddef>

#include "ulna/backend/tbb/activate.hpp"
#include "ulna/backend/tbb/simd.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

/// Of a block of pixels by output channels. Each element of the residual is read just before the same element of the
/// output is written: the output may take over the residual's memory.
template <class Isa, class T>
struct Epilogue {
  using V = FloatVec<Isa>;

  const float* bias = nullptr;  ///< of the first channel of the block; null: none
  Activation activation = Activation::none;
  float slope = 0.0f;
  ResidualSum order = ResidualSum::none;
  const T* residual = nullptr;  ///< of the first pixel and channel of the block
  std::ptrdiff_t residual_step = 0;

  Epilogue() = default;
  /// Of the block of `call` that begins at channel k of a pixel.
  Epilogue(const Call<T>& call, int sample, std::ptrdiff_t pixel, int k)
      : activation(call.node->activation), slope(call.node->slope), order(call.node->residual) {
    if (const float* of_all = held_as<const float>(call.input[2]).data) bias = of_all + k;
    if (order == ResidualSum::none) return;
    residual = call.input[residual_input].pixel(sample, pixel) + k;
    residual_step = call.input[residual_input].pixel_stride;
  }

  /// Of the block that begins `pixels` and `channels` further.
  Epilogue shifted(std::ptrdiff_t pixels, int channels) const {
    Epilogue e = *this;
    if (bias) e.bias += channels;
    if (residual) e.residual += pixels * residual_step + channels;
    return e;
  }

  bool identity() const { return bias == nullptr && activation == Activation::none && order == ResidualSum::none; }

  /// The bias of channels [k, k + n) of the block, n at most a vector.
  [[gnu::always_inline]] V bias_of(int k, int n) const {
    return !bias ? V::zero() : n >= V::width ? V::load(bias + k) : V::load_partial(bias + k, n);
  }

  /// What becomes of the same channels of a pixel, y = sum + bias.
  [[gnu::always_inline]] V finished(V y, std::ptrdiff_t pixel, int k, int n) const {
    const auto added = [&]() __attribute__((always_inline)) {
      const T* r = residual + pixel * residual_step + k;
      return y + (n >= V::width ? V::load(r) : V::load_partial(r, n));
    };
    if (order == ResidualSum::before_activation) y = added();
    y = activate(y, activation, slope);
    if (order == ResidualSum::after_activation) y = added();
    return y;
  }

  /// to[p to_step + k] = finished(from[p from_step + k] + bias[k]); `from` has whole vectors, `to` may be the same
  /// block.
  void finish(const float* from, std::ptrdiff_t from_step, T* to, std::ptrdiff_t to_step, int pixels,
              int channels) const {
    for (int k = 0; k < channels; k += V::width) {
      const int n = channels - k;
      const V b = bias_of(k, n);
      for (int p = 0; p < pixels; ++p) {
        const V y = finished(V::load(from + p * from_step + k) + b, p, k, n);
        if (n >= V::width)
          y.store(to + p * to_step + k);
        else
          y.store_partial(to + p * to_step + k, n);
      }
    }
  }

  /// The same with lanes along x: to[p to_step + k] = finished(from[k from_step + p] + bias[k]).
  void finish_transposed(float* from, std::ptrdiff_t from_step, T* to, std::ptrdiff_t to_step, int pixels,
                         int channels) const {
    const bool activation_last = order == ResidualSum::before_activation;
    for (int k = 0; k < channels; ++k) {
      float* row = from + k * from_step;
      const V b = bias ? V::broadcast(bias[k]) : V::zero();
      for (int p = 0; p < pixels; p += V::width)
        activate(V::load(row + p) + b, activation_last ? Activation::none : activation, slope).store(row + p);
      if (residual)
        for (int p = 0; p < pixels; ++p) row[p] += static_cast<float>(residual[p * residual_step + k]);
      if (activation_last)
        for (int p = 0; p < pixels; p += V::width) activate(V::load(row + p), activation, slope).store(row + p);
      for (int p = 0; p < pixels; ++p) to[p * to_step + k] = static_cast<T>(row[p]);
    }
  }
};

}  // namespace ulna::tbb_kernels
