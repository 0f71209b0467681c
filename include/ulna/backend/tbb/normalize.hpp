// SPDX-License-Identifier: MIT
// Batch, instance and group normalisation: see op/normalize.hpp for the formulas.
//
// Per-channel constants are computed once a call, in double, into rows of `Lanes`; the pixels are then walked once.
#pragma once

#include <cmath>

#include "ulna/backend/tbb/activate.hpp"
#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// Element c of an optional parameter.
[[gnu::always_inline]] inline double value_or(const Tensor<float>& parameter, int c, double otherwise) {
  return parameter ? static_cast<double>(parameter.data[c]) : otherwise;
}

/// Mean and 1 / sqrt(variance + epsilon) of each channel, from one record of moments.
struct Statistics {
  const float* record;
  int groups;
  int channels_a_group;
  double epsilon;

  int group(int c) const { return c / channels_a_group; }
  double mean(int c) const { return static_cast<double>(record[group(c)]); }
  double inverse(int c) const { return 1.0 / std::sqrt(static_cast<double>(record[groups + group(c)]) + epsilon); }
};

template <class T>
[[gnu::always_inline]] inline Statistics statistics_of(const Call<T>& call, const Tensor<T>& moments, int record) {
  const NormAttributes& norm = call.node->norm;
  const int channels = call.input[0].shape.channels;
  return {held_as<float>(moments).sample(record), norm.groups, channels / norm.groups,
          static_cast<double>(norm.epsilon)};
}

template <class T>
[[gnu::always_inline]] inline int records_of(const Call<T>& call) {
  return call.node->norm.over_batch ? 1 : call.input[0].batch;
}

/// Rows of constants in the scratch memory, `rows` for each record.
template <class Isa, class T>
std::size_t constants_bytes(const Call<T>& call, int rows) {
  return aligned_bytes(sizeof(float) * static_cast<std::size_t>(lanes_of<Isa>(call.input[0].shape.channels).stride) *
                       static_cast<std::size_t>(rows * records_of(call)));
}

/// record {2 G}: means, then biased variances
template <class Isa, class T = float>
void moments(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<float> records = held_as<float>(call.output);
  const NormAttributes norm = call.node->norm;
  const auto add_powers = [](int, int, const HalfVec<Isa>* v, DoubleVec<Isa>* sums) __attribute__((always_inline)) {
    const DoubleVec<Isa> d = to_double<Isa>(v[0]);
    sums[0] = sums[0] + d;
    sums[1] = fma(d, d, sums[1]);  // the product of two floats is exact in double
  };
  const int channels = x.shape.channels / norm.groups;
  const double count = static_cast<double>(x.pixels() * channels * (norm.over_batch ? x.batch : 1));
  const std::ptrdiff_t stride = lanes_of<Isa>(x.shape.channels).stride;
  sum_channels<Isa, 2, 1, T>(
      {&x}, norm.over_batch, call.scratch.data(), add_powers, [&](int record, const double* sums) {
        float* out = records.sample(record);
        for (int g = 0; g < norm.groups; ++g) {
          double sum = 0;
          double squares = 0;
          for (int c = g * channels; c < (g + 1) * channels; ++c) {
            sum += sums[c];
            squares += sums[stride + c];
          }
          const double mean = sum / count;
          out[g] = static_cast<float>(mean);
          out[norm.groups + g] = static_cast<float>(std::max(squares / count - mean * mean, 0.0));
        }
      });
}

/// Constants of z = (x - mean) scale + beta, in rows 0, 1 and 2 of a record's block of `rows`.
template <class Isa>
void fill_normalization(const Lanes& lanes, const Statistics& s, const Tensor<float>& gamma, const Tensor<float>& beta,
                        float* row) {
  fill_lanes<Isa>(lanes, row, [&](int c) { return s.mean(c); });
  fill_lanes<Isa>(lanes, row + lanes.stride, [&](int c) { return value_or(gamma, c, 1) * s.inverse(c); });
  fill_lanes<Isa>(lanes, row + 2 * lanes.stride, [&](int c) { return value_or(beta, c, 0); });
}

/// y = act((x - mean) scale + beta). Subtracting first keeps the digits of channels whose mean is far from 0.
template <class Isa, class T = float>
void normalize(const Call<T>& call) {
  const Lanes lanes = lanes_of<Isa>(call.output.shape.channels);
  float* constants = reinterpret_cast<float*>(call.scratch.data());
  const std::ptrdiff_t record_stride = call.node->norm.over_batch ? 0 : 3 * lanes.stride;
  for (int r = 0; r < records_of(call); ++r)
    fill_normalization<Isa>(lanes, statistics_of(call, call.input[1], r), held_as<float>(call.input[2]),
                            held_as<float>(call.input[3]), constants + r * record_stride);
  const Activation kind = call.node->activation;
  const float slope = call.node->slope;
  map_elements<Isa, 1>(
      call.output, {&call.input[0]}, lanes, [&]<class V>(int n, int lane, const V* v) __attribute__((always_inline)) {
        const float* at = constants + n * record_stride + lane;
        const V centred = v[0] - V::load(at);
        const V z = fma(centred, V::load(at + lanes.stride), V::load(at + 2 * lanes.stride));
        return activate(z, kind, slope);
      });
}

/// record {2 C}: sum dz, then sum dz xh
template <class Isa, class T = float>
void normalize_gradient_sums(const Call<T>& call) {
  using V = HalfVec<Isa>;
  using D = DoubleVec<Isa>;
  const Tensor<T>& x = call.input[1];
  const Tensor<float> records = held_as<float>(call.output);
  const int channels = x.shape.channels;
  const Lanes lanes = lanes_of<Isa>(channels);
  float* constants = reinterpret_cast<float*>(call.scratch.data());
  const std::ptrdiff_t record_stride = call.node->norm.over_batch ? 0 : 3 * lanes.stride;
  for (int r = 0; r < records_of(call); ++r)
    fill_normalization<Isa>(lanes, statistics_of(call, call.input[2], r), held_as<float>(call.input[3]),
                            held_as<float>(call.input[4]), constants + r * record_stride);
  const Activation kind = call.node->activation;
  const float slope = call.node->slope;
  const auto add_terms = [&](int n, int lane, const V* v, D* sums) __attribute__((always_inline)) {
    const float* at = constants + n * record_stride + lane;
    const V centred = v[1] - V::load(at);
    const V z = fma(centred, V::load(at + lanes.stride), V::load(at + 2 * lanes.stride));
    const V dz = activation_backward(v[0], activate(z, kind, slope), kind, slope);
    sums[0] = sums[0] + to_double<Isa>(dz);
    sums[1] = fma(to_double<Isa>(dz), to_double<Isa>(centred), sums[1]);
  };
  sum_channels<Isa, 2, 2, T>({&call.input[0], &x}, call.node->norm.over_batch,
                             call.scratch.data() + constants_bytes<Isa>(call, 3), add_terms,
                             [&](int record, const double* sums) {
                               const Statistics s = statistics_of(call, call.input[2], record);
                               float* out = records.sample(record);
                               for (int c = 0; c < channels; ++c) {
                                 out[c] = static_cast<float>(sums[c]);
                                 out[channels + c] = static_cast<float>(sums[lanes.stride + c] * s.inverse(c));
                               }
                             });
}

/// dx = (gamma dz - S / m - xh T / m) / sqrt(variance + epsilon) = dz scale - offset - (x - mean) tilt
template <class Isa, class T = float>
void normalize_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const Tensor<T>& moments = call.input[2];
  const Tensor<float> sums = held_as<float>(call.input[3]);
  const Tensor<float> gamma = held_as<float>(call.input[4]);
  const Tensor<float> beta = held_as<float>(call.input[5]);
  const Lanes lanes = lanes_of<Isa>(x.shape.channels);
  float* constants = reinterpret_cast<float*>(call.scratch.data());
  const NormAttributes norm = call.node->norm;
  const std::ptrdiff_t record_stride = norm.over_batch ? 0 : 5 * lanes.stride;
  for (int r = 0; r < records_of(call); ++r) {
    const Statistics s = statistics_of(call, moments, r);
    float* row = constants + r * record_stride;
    fill_normalization<Isa>(lanes, s, gamma, beta, row);
    const double count = static_cast<double>(x.pixels() * s.channels_a_group * (norm.over_batch ? x.batch : 1));
    // gamma times row `which` of the sums, over the channels of c's group and divided by its number of values
    const auto mean_of = [&, record = sums.sample(r), known = -1, mean = 0.0](int which, int c) mutable {
      const int group = s.group(c);
      if (group == known) return mean;
      known = group;
      mean = 0;
      for (int k = group * s.channels_a_group; k < (group + 1) * s.channels_a_group; ++k)
        mean += value_or(gamma, k, 1) * static_cast<double>(record[which * x.shape.channels + k]) / count;
      return mean;
    };
    fill_lanes<Isa>(lanes, row + 3 * lanes.stride,
                    [&, mean = mean_of](int c) mutable { return mean(0, c) * s.inverse(c); });
    fill_lanes<Isa>(lanes, row + 4 * lanes.stride,
                    [&, mean = mean_of](int c) mutable { return mean(1, c) * s.inverse(c) * s.inverse(c); });
  }
  const Activation kind = call.node->activation;
  const float slope = call.node->slope;
  map_elements<Isa, 2>(
      call.output, {&dy, &x}, lanes, [&]<class V>(int n, int lane, const V* v) __attribute__((always_inline)) {
        const float* at = constants + n * record_stride + lane;
        const V centred = v[1] - V::load(at);
        const V scale = V::load(at + lanes.stride);
        const V z = fma(centred, scale, V::load(at + 2 * lanes.stride));
        const V dz = activation_backward(v[0], activate(z, kind, slope), kind, slope);
        const V rest = fma(centred, V::load(at + 4 * lanes.stride), V::load(at + 3 * lanes.stride));
        return fma(dz, scale, V::zero() - rest);
      });
}

/// g[c] (+)= sum over samples of sums[begin + c]
template <class Isa>
void norm_parameter_gradient(const Call<float>& call) {
  const Tensor<float>& sums = call.input[0];
  for (int c = 0; c < call.output.shape.channels; ++c) {
    double total = call.node->accumulate ? static_cast<double>(call.output.data[c]) : 0.0;
    for (int n = 0; n < sums.batch; ++n) total += static_cast<double>(sums.sample(n)[call.node->begin + c]);
    call.output.data[c] = static_cast<float>(total);
  }
}

/// running += momentum (current - running), the variance unbiased
template <class Isa>
void update_running(const Call<float>& call) {
  const Tensor<float>& moments = call.input[0];
  const Tensor<float>& mean = call.input[1];
  const Tensor<float>& variance = call.input[2];
  const double momentum = static_cast<double>(call.node->norm.momentum);
  const double count = static_cast<double>(call.node->begin) * call.batch;
  const double unbiased = count > 1 ? count / (count - 1) : 1;
  const auto blend = [momentum](float& running, double current) {
    running = static_cast<float>(static_cast<double>(running) + momentum * (current - static_cast<double>(running)));
  };
  for (int c = 0; c < mean.shape.channels; ++c) {
    blend(mean.data[c], static_cast<double>(moments.data[c]));
    blend(variance.data[c], static_cast<double>(moments.data[mean.shape.channels + c]) * unbiased);
  }
}

/// record {2 C}: scale = gamma / sqrt(variance + epsilon), then shift = beta - mean scale
template <class Isa>
void running_affine(const Call<float>& call) {
  const Tensor<float>& mean = call.input[0];
  const Tensor<float>& variance = call.input[1];
  const Tensor<float>& gamma = call.input[2];
  const Tensor<float>& beta = call.input[3];
  const int channels = mean.shape.channels;
  for (int c = 0; c < channels; ++c) {
    const double deviation =
        std::sqrt(static_cast<double>(variance.data[c]) + static_cast<double>(call.node->norm.epsilon));
    const double scale = value_or(gamma, c, 1) / deviation;
    call.output.data[c] = static_cast<float>(scale);
    call.output.data[channels + c] =
        static_cast<float>(value_or(beta, c, 0) - static_cast<double>(mean.data[c]) * scale);
  }
}

/// y = act(x scale + shift)
template <class Isa, class T = float>
void affine(const Call<T>& call) {
  const int channels = call.output.shape.channels;
  const Lanes lanes = lanes_of<Isa>(channels);
  const float* record = held_as<float>(call.input[1]).data;
  float* constants = reinterpret_cast<float*>(call.scratch.data());
  fill_lanes<Isa>(lanes, constants, [&](int c) { return record[c]; });
  fill_lanes<Isa>(lanes, constants + lanes.stride, [&](int c) { return record[channels + c]; });
  const Activation kind = call.node->activation;
  const float slope = call.node->slope;
  map_elements<Isa, 1>(
      call.output, {&call.input[0]}, lanes, [&]<class V>(int, int lane, const V* v) __attribute__((always_inline)) {
        const float* at = constants + lane;
        return activate(fma(v[0], V::load(at), V::load(at + lanes.stride)), kind, slope);
      });
}

/// w[t][c][k] scale[k]
template <class Isa>
void fold_weight(const Call<float>& call) {
  const Lanes lanes = lanes_of<Isa>(call.output.shape.channels);
  float* constants = reinterpret_cast<float*>(call.scratch.data());
  fill_lanes<Isa>(lanes, constants, [scale = call.input[1].data](int k) { return scale[k]; });
  map_elements<Isa, 1>(
      call.output, {&call.input[0]}, lanes, [&]<class V>(int, int lane, const V* v) __attribute__((always_inline)) {
        return v[0] * V::load(constants + lane);
      });
}

/// shift[k] + bias[k] scale[k]
template <class Isa>
void fold_bias(const Call<float>& call) {
  const Tensor<float>& record = call.input[0];
  const Tensor<float>& bias = call.input[1];
  const int channels = call.output.shape.channels;
  for (int k = 0; k < channels; ++k)
    call.output.data[k] = static_cast<float>(static_cast<double>(record.data[channels + k]) +
                                             value_or(bias, k, 0) * static_cast<double>(record.data[k]));
}

}  // namespace ulna::tbb_kernels
