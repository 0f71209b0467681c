// SPDX-License-Identifier: MIT
// Weight standardisation.
#pragma once

#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// Output channel k of a weight [tap][in][out]: every tap and input channel.
template <class T>
auto filter_of(const Tensor<T>& w, int k) {
  const Index out = w.shape.channels;
  return Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>, Eigen::Unaligned, Eigen::InnerStride<>>(
      w.data + k, static_cast<Index>(w.shape.size()) / out, Eigen::InnerStride<>(out));
}

struct FilterMoments {
  double mean, inverse;
};
inline FilterMoments filter_moments(const auto& w, float epsilon) {
  const double mean = w.template cast<double>().mean();
  const double variance = (w.template cast<double>() - mean).square().mean();
  return {mean, 1.0 / std::sqrt(variance + static_cast<double>(epsilon))};
}

/// w' = (w - mean) / sqrt(variance + epsilon)
template <class T>
void standardize_weight(const Call<T>& call) {
  for (int k = 0; k < call.output.shape.channels; ++k) {
    const auto w = filter_of(call.input[0], k);
    const FilterMoments m = filter_moments(w, call.node->norm.epsilon);
    filter_of(call.output, k) = ((w.template cast<double>() - m.mean) * m.inverse).template cast<T>();
  }
}

/// dw = (dw' - mean(dw') - wh mean(dw' wh)) / sqrt(variance + epsilon)
template <class T>
void standardize_weight_gradient(const Call<T>& call) {
  for (int k = 0; k < call.output.shape.channels; ++k) {
    const auto g = filter_of(call.input[0], k).template cast<double>();
    const auto w = filter_of(call.input[1], k);
    const FilterMoments m = filter_moments(w, call.node->norm.epsilon);
    const auto wh = (w.template cast<double>() - m.mean) * m.inverse;
    const double mean = g.mean();
    const double along = (g * wh).mean();
    auto to = filter_of(call.output, k);
    const auto dw = (g - mean - wh * along) * m.inverse;
    if (call.node->accumulate)
      to = (to.template cast<double>() + dw).template cast<T>();
    else
      to = dw.template cast<T>();
  }
}

}  // namespace ulna::eigen
