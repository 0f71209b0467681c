// SPDX-License-Identifier: MIT
// Weight standardisation: see op/standardize.hpp for the formulas. A weight is read as an image whose pixels are the
// (tap, input channel) pairs: the sums over them are in double, so nothing is lost by summing squares.
#pragma once

#include <cmath>

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

namespace detail {

/// Mean and 1 / sqrt(variance + epsilon) of one output channel.
struct FilterMoments {
  double mean, inverse;
};
[[gnu::always_inline]] inline FilterMoments filter_moments(double sum, double squares, double count, float epsilon) {
  const double mean = sum / count;
  return {mean, 1.0 / std::sqrt(std::max(squares / count - mean * mean, 0.0) + static_cast<double>(epsilon))};
}

template <class Isa>
std::size_t filter_constants_bytes(const Call<float>& call, int rows) {
  return aligned_bytes(sizeof(float) *
                       static_cast<std::size_t>(rows * lanes_of<Isa>(call.output.shape.channels).stride));
}

}  // namespace detail

template <class Isa>
std::size_t standardize_weight_bytes(const Call<float>& call) {
  return detail::filter_constants_bytes<Isa>(call, 2) + sum_channels_bytes<Isa>(call.input[0], 2);
}

/// w' = (w - mean) / sqrt(variance + epsilon)
template <class Isa>
void standardize_weight(const Call<float>& call) {
  const Tensor<float>& w = call.input[0];
  const Lanes lanes = lanes_of<Isa>(w.shape.channels);
  float* constants = reinterpret_cast<float*>(call.scratch.data());
  const auto add_powers = [](int, int, const HalfVec<Isa>* v, DoubleVec<Isa>* sums) __attribute__((always_inline)) {
    const DoubleVec<Isa> d = to_double<Isa>(v[0]);
    sums[0] = sums[0] + d;
    sums[1] = fma(d, d, sums[1]);
  };
  std::byte* scratch = call.scratch.data() + detail::filter_constants_bytes<Isa>(call, 2);
  sum_channels<Isa, 2, 1>({&w}, true, scratch, add_powers, [&](int, const double* sums) {
    const auto of = [&, count = static_cast<double>(w.pixels())](int k) {
      return detail::filter_moments(sums[k], sums[lanes.stride + k], count, call.node->norm.epsilon);
    };
    fill_lanes<Isa>(lanes, constants, [&](int k) { return of(k).mean; });
    fill_lanes<Isa>(lanes, constants + lanes.stride, [&](int k) { return of(k).inverse; });
  });
  map_elements<Isa, 1>(
      call.output, {&w}, lanes, [&]<class V>(int, int lane, const V* v) __attribute__((always_inline)) {
        const float* at = constants + lane;
        return (v[0] - V::load(at)) * V::load(at + lanes.stride);
      });
}

template <class Isa>
std::size_t standardize_weight_gradient_bytes(const Call<float>& call) {
  return detail::filter_constants_bytes<Isa>(call, 4) + sum_channels_bytes<Isa>(call.input[0], 4);
}

/// dw (+)= (dw' - mean(dw') - wh mean(dw' wh)) / sqrt(variance + epsilon) = dw' scale - offset - (w - mean) tilt
template <class Isa>
void standardize_weight_gradient(const Call<float>& call) {
  const Tensor<float>& g = call.input[0];
  const Tensor<float>& w = call.input[1];
  const Lanes lanes = lanes_of<Isa>(w.shape.channels);
  float* constants = reinterpret_cast<float*>(call.scratch.data());
  const auto add_terms = [](int, int, const HalfVec<Isa>* v, DoubleVec<Isa>* sums) __attribute__((always_inline)) {
    const DoubleVec<Isa> slope = to_double<Isa>(v[0]);
    const DoubleVec<Isa> d = to_double<Isa>(v[1]);
    sums[0] = sums[0] + d;
    sums[1] = fma(d, d, sums[1]);
    sums[2] = sums[2] + slope;
    sums[3] = fma(slope, d, sums[3]);
  };
  std::byte* scratch = call.scratch.data() + detail::filter_constants_bytes<Isa>(call, 4);
  sum_channels<Isa, 4, 2>({&g, &w}, true, scratch, add_terms, [&](int, const double* sums) {
    const double count = static_cast<double>(w.pixels());
    const auto row = [&](int r, auto value) {
      fill_lanes<Isa>(lanes, constants + r * lanes.stride, [&](int k) {
        const auto m = detail::filter_moments(sums[k], sums[lanes.stride + k], count, call.node->norm.epsilon);
        return value(m, sums[2 * lanes.stride + k] / count, sums[3 * lanes.stride + k] / count);
      });
    };
    row(0, [](detail::FilterMoments m, double, double) { return m.mean; });
    row(1, [](detail::FilterMoments m, double, double) { return m.inverse; });
    row(2, [](detail::FilterMoments m, double mean, double) { return mean * m.inverse; });
    row(3, [](detail::FilterMoments m, double mean, double product) {
      return (product - m.mean * mean) * m.inverse * m.inverse * m.inverse;
    });
  });
  const auto gradient = [&]<class V>(int lane, const V* v) __attribute__((always_inline)) {
    const float* at = constants + lane;
    const V rest = fma(v[1] - V::load(at), V::load(at + 3 * lanes.stride), V::load(at + 2 * lanes.stride));
    return v[0] * V::load(at + lanes.stride) - rest;
  };
  if (call.node->accumulate)
    map_elements<Isa, 3>(
        call.output, {&g, &w, &call.output},
        lanes, [&]<class V>(int, int lane, const V* v) __attribute__((always_inline)) {
          return v[2] + gradient(lane, v);
        });
  else
    map_elements<Isa, 2>(
        call.output, {&g, &w},
        lanes, [&]<class V>(int, int lane, const V* v) __attribute__((always_inline)) { return gradient(lane, v); });
}

}  // namespace ulna::tbb_kernels
