// SPDX-License-Identifier: MIT
// Batch, instance and group normalisation, running statistics and affine maps. Statistics, their sums and everything
// made of parameters are float, whatever the activations are.
#pragma once

#include "ulna/backend/cuda/activation.hpp"
#include "ulna/backend/cuda/elements.hpp"
#include "ulna/backend/cuda/reduction.hpp"

namespace ulna::cuda {

namespace bodies {

/// Where the statistics of an element are: one record {mean of each group, variance of each group} for the batch or for
/// each sample.
struct Statistics {
  const float* records;
  int pixels, channels, groups;
  bool over_batch;
  float epsilon;

  Statistics(const Node& node, const Tensor<float>& moments, const Shape& x)
      : records(moments.data),
        pixels(static_cast<int>(x.pixels())),
        channels(x.channels),
        groups(node.norm.groups),
        over_batch(node.norm.over_batch),
        epsilon(node.norm.epsilon) {}

  ULNA_HOST_DEVICE std::int64_t record(std::int64_t q) const { return over_batch ? 0 : divide(q, pixels).quotient; }
  ULNA_HOST_DEVICE int group(int c) const { return groups == channels ? c : c / (channels / groups); }

  struct Of {
    float mean, inverse;
  };
  ULNA_HOST_DEVICE Of at(std::int64_t record, int c) const {
    const float* const from = records + record * 2 * groups + group(c);
    return {from[0], inverse_root(from[groups] + epsilon)};
  }
};

/// gamma and beta of a channel; 1 and 0 where absent.
struct Affine {
  const float* gamma;
  const float* beta;
  ULNA_HOST_DEVICE float gamma_of(int c) const { return gamma ? gamma[c] : 1.0f; }
  ULNA_HOST_DEVICE float beta_of(int c) const { return beta ? beta[c] : 0.0f; }
};

/// Sum and sum of squares in double: over float inputs their difference keeps the variance, however far the mean is.
/// Records are samples or the batch, columns are channels.
template <class T>
struct ChannelMoments {
  static constexpr int sums = 2;
  Tensor<T> x;
  float* records;  ///< [record][2 C]
  std::int64_t length;

  ULNA_HOST_DEVICE void add(std::int64_t record, std::int64_t i, int c, double* sum) const {
    const auto v = static_cast<double>(static_cast<float>(row_of(x, record * length + i)[c]));
    sum[0] += v;
    sum[1] += v * v;
  }
  ULNA_HOST_DEVICE void finish(std::int64_t record, int c, const double* sum) const {
    store_moments(records + record * 2 * x.shape.channels + c, x.shape.channels, sum, static_cast<double>(length));
  }

  ULNA_HOST_DEVICE static void store_moments(float* to, int groups, const double* sum, double count) {
    const double mean = sum[0] / count;
    const double variance = sum[1] / count - mean * mean;
    to[0] = static_cast<float>(mean);
    to[groups] = static_cast<float>(variance > 0.0 ? variance : 0.0);
  }
};

/// The same for groups of several channels: a record of the reduction is one group of one sample.
template <class T>
struct GroupMoments {
  static constexpr int sums = 2;
  Tensor<T> x;
  float* records;
  int groups;
  int width;  ///< channels of a group

  ULNA_HOST_DEVICE void add(std::int64_t record, std::int64_t i, int, double* sum) const {
    const Quotient sample = divide(record, groups);
    const Quotient at = divide(i, width);
    const T* const row = row_of(x, sample.quotient * x.pixels() + at.quotient);
    const auto v = static_cast<double>(static_cast<float>(row[sample.remainder * width + at.remainder]));
    sum[0] += v;
    sum[1] += v * v;
  }
  ULNA_HOST_DEVICE void finish(std::int64_t record, int, const double* sum) const {
    const Quotient sample = divide(record, groups);
    ChannelMoments<T>::store_moments(records + sample.quotient * 2 * groups + sample.remainder, groups, sum,
                                     static_cast<double>(x.pixels()) * width);
  }
};

struct Normalize {
  Statistics statistics;
  Affine affine;
  ActivationOf act;
  ULNA_HOST_DEVICE float operator()(std::int64_t q, int c, float x) const {
    const auto [mean, inverse] = statistics.at(statistics.record(q), c);
    return act((x - mean) * inverse * affine.gamma_of(c) + affine.beta_of(c));
  }
};

/// xh = (x - mean) / sqrt(variance + epsilon) and dz, the gradient before the activation.
struct NormPoint {
  Statistics statistics;
  Affine affine;
  ActivationOf act;
  struct Value {
    float xh, dz, inverse;
  };
  ULNA_HOST_DEVICE Value at(std::int64_t record, int c, float dy, float x) const {
    const auto [mean, inverse] = statistics.at(record, c);
    const float xh = (x - mean) * inverse;
    return {xh, dy * act.slope_at(affine.gamma_of(c) * xh + affine.beta_of(c)), inverse};
  }
};

/// sum dz, then sum dz xh, of each channel
template <class T>
struct NormGradientSums {
  static constexpr int sums = 2;
  Tensor<T> dy, x;
  NormPoint point;
  float* records;  ///< [record][2 C]
  std::int64_t length;

  ULNA_HOST_DEVICE void add(std::int64_t record, std::int64_t i, int c, double* sum) const {
    const std::int64_t q = record * length + i;
    const auto v = point.at(record, c, static_cast<float>(row_of(dy, q)[c]), static_cast<float>(row_of(x, q)[c]));
    sum[0] += static_cast<double>(v.dz);
    sum[1] += static_cast<double>(v.dz) * static_cast<double>(v.xh);
  }
  ULNA_HOST_DEVICE void finish(std::int64_t record, int c, const double* sum) const {
    float* const to = records + record * 2 * x.shape.channels + c;
    to[0] = static_cast<float>(sum[0]);
    to[x.shape.channels] = static_cast<float>(sum[1]);
  }
};

/// S / m and T / m of each group of each record, from the channels' sums.
struct GroupMeans {
  const float* sums;  ///< [record][2 C]
  float* means;       ///< [record][group][2]
  Affine affine;
  int channels, groups;
  double count;

  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const Quotient at = divide(i, groups);
    const float* const from = sums + at.quotient * 2 * channels;
    const int width = channels / groups;
    double s = 0.0, t = 0.0;
    for (int c = at.remainder * width; c < (at.remainder + 1) * width; ++c) {
      const auto gamma = static_cast<double>(affine.gamma_of(c));
      s += gamma * static_cast<double>(from[c]);
      t += gamma * static_cast<double>(from[channels + c]);
    }
    means[2 * i] = static_cast<float>(s / count);
    means[2 * i + 1] = static_cast<float>(t / count);
  }
};

struct NormGradient {
  NormPoint point;
  const float* means;  ///< [record][group][2]
  ULNA_HOST_DEVICE float operator()(std::int64_t q, int c, float dy, float x) const {
    const std::int64_t record = point.statistics.record(q);
    const auto v = point.at(record, c, dy, x);
    const float* const mean = means + 2 * (record * point.statistics.groups + point.statistics.group(c));
    return (point.affine.gamma_of(c) * v.dz - mean[0] - v.xh * mean[1]) * v.inverse;
  }
};

struct NormParameterGradient {
  const float* sums;
  float* gradient;
  int records, record_size, begin;
  bool accumulate;
  ULNA_HOST_DEVICE void operator()(std::int64_t c) const {
    double sum = accumulate ? static_cast<double>(gradient[c]) : 0.0;
    for (int r = 0; r < records; ++r) sum += static_cast<double>(sums[std::int64_t{r} * record_size + begin + c]);
    gradient[c] = static_cast<float>(sum);
  }
};

struct UpdateRunning {
  const float* moments;
  float *mean, *variance;
  int channels;
  float momentum, unbiased;
  ULNA_HOST_DEVICE void operator()(std::int64_t c) const {
    mean[c] += momentum * (moments[c] - mean[c]);
    variance[c] += momentum * (unbiased * moments[channels + c] - variance[c]);
  }
};

struct RunningAffine {
  const float *mean, *variance;
  Affine affine;
  float* record;
  int channels;
  float epsilon;
  ULNA_HOST_DEVICE void operator()(std::int64_t c) const {
    const float scale = affine.gamma_of(static_cast<int>(c)) / std::sqrt(variance[c] + epsilon);
    record[c] = scale;
    record[channels + c] = affine.beta_of(static_cast<int>(c)) - mean[c] * scale;
  }
};

struct ApplyAffine {
  const float* record;
  int channels;
  ActivationOf act;
  ULNA_HOST_DEVICE float operator()(std::int64_t, int c, float x) const {
    return act(x * record[c] + record[channels + c]);
  }
};

struct FoldWeight {
  const float *weight, *scale;
  float* folded;
  int out;
  ULNA_HOST_DEVICE void operator()(std::int64_t i) const { folded[i] = weight[i] * scale[divide(i, out).remainder]; }
};

struct FoldBias {
  const float *record, *bias;
  float* folded;
  int out;
  ULNA_HOST_DEVICE void operator()(std::int64_t k) const {
    folded[k] = record[out + k] + (bias ? bias[k] * record[k] : 0.0f);
  }
};

template <class T>
Affine affine_of(const Call<T>& call, std::size_t gamma) {
  return {held_as<float>(call.input[gamma]).data, held_as<float>(call.input[gamma + 1]).data};
}

}  // namespace bodies

/// How a norm's channels are summed over what shares a record.
template <class T>
ReductionShape channel_sums_shape(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const bool over_batch = call.node->norm.over_batch;
  return ReductionShape::of(over_batch ? 1 : x.batch, over_batch ? rows_of(x) : x.pixels(), x.shape.channels);
}
template <class T>
ReductionShape moments_shape(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const int groups = call.node->norm.groups;
  if (groups == x.shape.channels) return channel_sums_shape(call);
  return ReductionShape::of(std::int64_t{x.batch} * groups, x.pixels() * (x.shape.channels / groups), 1);
}

struct MomentsBuffers {
  template <class T>
  MomentsBuffers(const Call<T>& call, Workspace& w) : partial(w.take<double>(moments_shape(call).partials(2))) {}
  double* partial;
};

template <class Execution, class T>
void moments(const Execution& on, const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const ReductionShape shape = moments_shape(call);
  const int groups = call.node->norm.groups;
  double* const partial = buffers_of<MomentsBuffers>(call).partial;
  float* const records = held_as<float>(call.output).data;
  if (groups == x.shape.channels)
    reduce(on, "moments", shape, partial, bodies::ChannelMoments<T>{x, records, shape.length});
  else
    reduce(on, "moments", shape, partial, bodies::GroupMoments<T>{x, records, groups, x.shape.channels / groups});
}

/// y = act( gamma (x - mean) / sqrt(variance + epsilon) + beta )
template <class Execution, class T>
void normalize(const Execution& on, const Call<T>& call) {
  const bodies::Normalize f{{*call.node, held_as<float>(call.input[1]), call.output.shape},
                            bodies::affine_of(call, 2),
                            ActivationOf(*call.node)};
  map_elements(on, "normalize", f, call.output, call.input[0]);
}

struct NormGradientSumsBuffers {
  template <class T>
  NormGradientSumsBuffers(const Call<T>& call, Workspace& w)
      : partial(w.take<double>(channel_sums_shape(call).partials(2))) {}
  double* partial;
};

/// sum dz, then sum dz xh, of each channel
template <class Execution, class T>
void normalize_gradient_sums(const Execution& on, const Call<T>& call) {
  const Tensor<T>& x = call.input[1];
  const ReductionShape shape = channel_sums_shape(call);
  const bodies::NormPoint point{
      {*call.node, held_as<float>(call.input[2]), x.shape}, bodies::affine_of(call, 3), ActivationOf(*call.node)};
  reduce(on, "normalize_gradient_sums", shape, buffers_of<NormGradientSumsBuffers>(call).partial,
         bodies::NormGradientSums<T>{call.input[0], x, point, held_as<float>(call.output).data, shape.length});
}

struct NormGradientBuffers {
  template <class T>
  NormGradientBuffers(const Call<T>& call, Workspace& w)
      : records(call.node->norm.over_batch ? 1 : call.batch),
        means(w.take<float>(2 * std::ptrdiff_t{records} * call.node->norm.groups)) {}
  int records;
  float* means;
};

/// dx = (gamma dz - S / m - xh T / m) / sqrt(variance + epsilon)
template <class Execution, class T>
void normalize_gradient(const Execution& on, const Call<T>& call) {
  const Tensor<T>& x = call.input[1];
  const auto buffers = buffers_of<NormGradientBuffers>(call);
  const int groups = call.node->norm.groups;
  const bodies::Affine affine = bodies::affine_of(call, 4);
  const std::int64_t shared_rows = call.node->norm.over_batch ? rows_of(x) : x.pixels();
  const double count = static_cast<double>(shared_rows) * (x.shape.channels / groups);
  on.each(
      "normalize_gradient_means", std::int64_t{buffers.records} * groups,
      bodies::GroupMeans{held_as<float>(call.input[3]).data, buffers.means, affine, x.shape.channels, groups, count});
  const bodies::NormGradient f{{{*call.node, held_as<float>(call.input[2]), x.shape}, affine, ActivationOf(*call.node)},
                               buffers.means};
  map_elements(on, "normalize_gradient", f, call.output, call.input[0], x);
}

/// g[c] = sum over records of sums[begin + c]
template <class Execution, class T>
void norm_parameter_gradient(const Execution& on, const Call<T>& call) {
  const Tensor<float> sums = held_as<float>(call.input[0]);
  on.each("norm_parameter_gradient", call.output.shape.size(),
          bodies::NormParameterGradient{sums.data, held_as<float>(call.output).data, sums.batch,
                                        static_cast<int>(sums.shape.size()), call.node->begin, call.node->accumulate});
}

/// mean += momentum (m - mean); variance += momentum (v n / (n - 1) - variance)
template <class Execution, class T>
void update_running(const Execution& on, const Call<T>& call) {
  const double count = static_cast<double>(call.batch) * call.node->begin;
  const int channels = call.input[1].shape.channels;
  on.each("update_running", channels,
          bodies::UpdateRunning{held_as<float>(call.input[0]).data, held_as<float>(call.input[1]).data,
                                held_as<float>(call.input[2]).data, channels, call.node->norm.momentum,
                                static_cast<float>(count > 1 ? count / (count - 1) : 1.0)});
}

/// scale = gamma / sqrt(variance + epsilon), then shift = beta - mean scale
template <class Execution, class T>
void running_affine(const Execution& on, const Call<T>& call) {
  const int channels = call.input[0].shape.channels;
  on.each("running_affine", channels,
          bodies::RunningAffine{held_as<float>(call.input[0]).data, held_as<float>(call.input[1]).data,
                                bodies::affine_of(call, 2), held_as<float>(call.output).data, channels,
                                call.node->norm.epsilon});
}

/// y = act( x scale + shift )
template <class Execution, class T>
void affine(const Execution& on, const Call<T>& call) {
  const bodies::ApplyAffine f{held_as<float>(call.input[1]).data, call.output.shape.channels, ActivationOf(*call.node)};
  map_elements(on, "affine", f, call.output, call.input[0]);
}

/// w[t][c][k] scale[k]
template <class Execution, class T>
void fold_weight(const Execution& on, const Call<T>& call) {
  on.each("fold_weight", call.output.shape.size(),
          bodies::FoldWeight{held_as<float>(call.input[0]).data, held_as<float>(call.input[1]).data,
                             held_as<float>(call.output).data, call.output.shape.channels});
}

/// shift[k] + bias[k] scale[k]
template <class Execution, class T>
void fold_bias(const Execution& on, const Call<T>& call) {
  const int out = call.output.shape.channels;
  on.each("fold_bias", out,
          bodies::FoldBias{held_as<float>(call.input[0]).data, held_as<float>(call.input[1]).data,
                           held_as<float>(call.output).data, out});
}

}  // namespace ulna::cuda
