// SPDX-License-Identifier: MIT
// Layer normalisation over the channels of each pixel.
#pragma once

#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// Of the channels of one pixel.
struct PixelMoments {
  double mean, inverse;  ///< inverse = 1 / sqrt(variance + epsilon)
};
inline PixelMoments pixel_moments(const auto& x, float epsilon) {
  const double mean = x.template cast<double>().mean();
  const double variance = (x.template cast<double>() - mean).square().mean();
  return {mean, 1.0 / std::sqrt(variance + static_cast<double>(epsilon))};
}

/// y = gamma xh + beta
template <class T>
void layer_norm(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const auto gamma = record_of(call.input[1]).template cast<double>();
  const auto beta = record_of(call.input[2]).template cast<double>();
  for (int n = 0; n < x.batch; ++n)
    for (Index p = 0; p < x.pixels(); ++p) {
      const auto from = channels_of(x, n, p);
      const PixelMoments m = pixel_moments(from, call.node->norm.epsilon);
      channels_of(call.output, n, p) =
          ((from.template cast<double>() - m.mean) * m.inverse * gamma + beta).template cast<T>();
    }
}

/// sum dy, then sum dy xh, over the pixels of each sample
template <class T>
void layer_norm_sums(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const Index channels = x.shape.channels;
  Channels<double> sums(buffers_of<OutputSums>(call).data, 2 * channels);
  for (int n = 0; n < x.batch; ++n) {
    sums.setZero();
    for (Index p = 0; p < x.pixels(); ++p) {
      const auto from = channels_of(x, n, p);
      const auto g = channels_of(dy, n, p).template cast<double>();
      const PixelMoments m = pixel_moments(from, call.node->norm.epsilon);
      sums.head(channels) += g;
      sums.tail(channels) += g * (from.template cast<double>() - m.mean) * m.inverse;
    }
    record_of(call.output, n) = sums.template cast<T>();
  }
}

/// dx = (g - mean(g) - xh mean(g xh)) / sqrt(variance + epsilon), g = gamma dy
template <class T>
void layer_norm_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const auto gamma = record_of(call.input[2]).template cast<double>();
  for (int n = 0; n < x.batch; ++n)
    for (Index p = 0; p < x.pixels(); ++p) {
      const auto from = channels_of(x, n, p);
      const PixelMoments m = pixel_moments(from, call.node->norm.epsilon);
      const auto xh = (from.template cast<double>() - m.mean) * m.inverse;
      const auto g = channels_of(dy, n, p).template cast<double>() * gamma;
      const double mean = g.mean();
      const double along = (g * xh).mean();
      channels_of(call.output, n, p) = ((g - mean - xh * along) * m.inverse).template cast<T>();
    }
}

}  // namespace ulna::eigen
