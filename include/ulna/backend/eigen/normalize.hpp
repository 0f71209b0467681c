// SPDX-License-Identifier: MIT
// Batch, instance and group normalisation, running statistics and affine maps.
#pragma once

#include <utility>

#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// Samples [first, last) share record `record`: all of them for batch norm, one for the others.
inline std::pair<int, int> samples_of(const Node& node, int record, int batch) {
  return node.norm.over_batch ? std::pair{0, batch} : std::pair{record, record + 1};
}
inline int records_of(const Node& node, int batch) { return node.norm.over_batch ? 1 : batch; }
inline int record_index(const Node& node, int n) { return node.norm.over_batch ? 0 : n; }

/// Mean of each group, then variance of each group; the variance from the differences to the mean, so it cannot cancel.
template <class T>
void moments(const Call<T>& call) {
  const Node& node = *call.node;
  const Tensor<T>& x = call.input[0];
  const int groups = node.norm.groups;
  const int channels = x.shape.channels / groups;
  for (int r = 0; r < records_of(node, x.batch); ++r) {
    const auto [first, last] = samples_of(node, r, x.batch);
    const double count = static_cast<double>(last - first) * static_cast<double>(x.pixels()) * channels;
    auto record = record_of(call.output, r);
    for (int g = 0; g < groups; ++g) {
      double sum = 0;
      for (int n = first; n < last; ++n)
        sum += pixels_of(x, n).middleCols(g * channels, channels).template cast<double>().sum();
      const double mean = sum / count;
      double squares = 0;
      for (int n = first; n < last; ++n)
        squares += (pixels_of(x, n).middleCols(g * channels, channels).template cast<double>() - mean).square().sum();
      record[g] = static_cast<T>(mean);
      record[groups + g] = static_cast<T>(squares / count);
    }
  }
}

/// What normalisation needs of each channel: mean, 1 / sqrt(variance + epsilon), gamma, beta; and two sums.
struct NormBuffers {
  template <class T>
  NormBuffers(const Call<T>& call, Workspace& w) : channels(call.input[0].shape.channels) {
    for (double** of : {&mean, &inverse, &gamma, &beta, &sum, &weighted_sum}) *of = w.take<double>(channels);
  }
  Channels<double> of(double* values) const { return {values, channels}; }

  int channels;
  double *mean, *inverse, *gamma, *beta, *sum, *weighted_sum;
};

/// Fills mean, inverse, gamma and beta for the sample whose record is given.
template <class T>
void load_norm(const Node& node, const NormBuffers& b, const Channels<T>& record, const Tensor<T>& gamma,
               const Tensor<T>& beta) {
  const int groups = node.norm.groups;
  for (int c = 0; c < b.channels; ++c) {
    const int g = c / (b.channels / groups);
    b.mean[c] = static_cast<double>(record[g]);
    b.inverse[c] = 1.0 / std::sqrt(static_cast<double>(record[groups + g]) + static_cast<double>(node.norm.epsilon));
    b.gamma[c] = gamma ? static_cast<double>(gamma.data[c]) : 1.0;
    b.beta[c] = beta ? static_cast<double>(beta.data[c]) : 0.0;
  }
}

/// y = act( gamma (x - mean) / sqrt(variance + epsilon) + beta )
template <class T>
void normalize(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const auto b = buffers_of<NormBuffers>(call);
  for (int n = 0; n < x.batch; ++n) {
    load_norm(*call.node, b, record_of(call.input[1], record_index(*call.node, n)), call.input[2], call.input[3]);
    for (Index p = 0; p < x.pixels(); ++p)
      store_activated<T>(
          *call.node,
          (channels_of(x, n, p).template cast<double>() - b.of(b.mean)) * b.of(b.inverse) * b.of(b.gamma) +
              b.of(b.beta),
          channels_of(call.output, n, p));
  }
}

/// xh = (x - mean) / sqrt(variance + epsilon) and dz, the gradient before the activation, of channel c of one pixel.
struct NormPoint {
  double xh, dz;
};
template <class T>
NormPoint norm_point(const Node& node, const NormBuffers& b, T dy, T x, int c) {
  const double xh = (static_cast<double>(x) - b.mean[c]) * b.inverse[c];
  return {xh, static_cast<double>(dy) * activation_slope_at(node, b.gamma[c] * xh + b.beta[c])};
}

/// sum dz, then sum dz xh, of each channel
template <class T>
void normalize_gradient_sums(const Call<T>& call) {
  const Node& node = *call.node;
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const auto b = buffers_of<NormBuffers>(call);
  for (int r = 0; r < records_of(node, x.batch); ++r) {
    load_norm(node, b, record_of(call.input[2], r), call.input[3], call.input[4]);
    b.of(b.sum).setZero();
    b.of(b.weighted_sum).setZero();
    const auto [first, last] = samples_of(node, r, x.batch);
    for (int n = first; n < last; ++n)
      for (Index p = 0; p < x.pixels(); ++p)
        for (int c = 0; c < b.channels; ++c) {
          const auto [xh, dz] = norm_point(node, b, dy.pixel(n, p)[c], x.pixel(n, p)[c], c);
          b.sum[c] += dz;
          b.weighted_sum[c] += dz * xh;
        }
    record_of(call.output, r).head(b.channels) = b.of(b.sum).template cast<T>();
    record_of(call.output, r).tail(b.channels) = b.of(b.weighted_sum).template cast<T>();
  }
}

/// dx = (gamma dz - S / m - xh T / m) / sqrt(variance + epsilon)
template <class T>
void normalize_gradient(const Call<T>& call) {
  const Node& node = *call.node;
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const auto b = buffers_of<NormBuffers>(call);
  const int width = b.channels / node.norm.groups;
  const double shared =
      static_cast<double>(x.pixels()) * width * static_cast<double>(node.norm.over_batch ? x.batch : 1);
  for (int n = 0; n < x.batch; ++n) {
    const int r = record_index(node, n);
    load_norm(node, b, record_of(call.input[2], r), call.input[4], call.input[5]);
    const auto sums = record_of(call.input[3], r).template cast<double>();
    for (int c = 0; c < b.channels; ++c) {  // S / m and T / m of the channel's group
      const int begin = c / width * width;
      b.sum[c] = (b.of(b.gamma) * sums.head(b.channels)).segment(begin, width).sum() / shared;
      b.weighted_sum[c] = (b.of(b.gamma) * sums.tail(b.channels)).segment(begin, width).sum() / shared;
    }
    for (Index p = 0; p < x.pixels(); ++p)
      for (int c = 0; c < b.channels; ++c) {
        const auto [xh, dz] = norm_point(node, b, dy.pixel(n, p)[c], x.pixel(n, p)[c], c);
        call.output.pixel(n, p)[c] =
            static_cast<T>((b.gamma[c] * dz - b.sum[c] - xh * b.weighted_sum[c]) * b.inverse[c]);
      }
  }
}

/// g[c] = sum over records of sums[begin + c]
template <class T>
void norm_parameter_gradient(const Call<T>& call) {
  const Index channels = static_cast<Index>(call.output.shape.size());
  Channels<double> sums(buffers_of<ChannelSums>(call).data, channels);
  sums.setZero();
  for (int r = 0; r < call.input[0].batch; ++r)
    sums += record_of(call.input[0], r).segment(call.node->begin, channels).template cast<double>();
  store_gradient(call, sums);
}

/// mean += momentum (m - mean); variance += momentum (v n / (n - 1) - variance)
template <class T>
void update_running(const Call<T>& call) {
  const Node& node = *call.node;
  const double momentum = static_cast<double>(node.norm.momentum);
  const double count = static_cast<double>(call.batch) * node.begin;
  const double unbiased = count > 1 ? count / (count - 1) : 1.0;
  const auto record = record_of(call.input[0]).template cast<double>();
  auto mean = record_of(call.input[1]);
  auto variance = record_of(call.input[2]);
  const auto blend = [momentum](auto running, const auto& current) {
    const auto old = running.template cast<double>();
    running = (old + momentum * (current - old)).template cast<T>();
  };
  blend(mean, record.head(mean.size()));
  blend(variance, unbiased * record.tail(variance.size()));
}

/// scale = gamma / sqrt(variance + epsilon), then shift = beta - mean scale
template <class T>
void running_affine(const Call<T>& call) {
  const Index channels = static_cast<Index>(call.input[0].shape.size());
  for (Index c = 0; c < channels; ++c) {
    const auto value = [&](std::size_t i, double absent) {
      return call.input[i] ? static_cast<double>(call.input[i].data[c]) : absent;
    };
    const double scale = value(2, 1.0) / std::sqrt(value(1, 1.0) + static_cast<double>(call.node->norm.epsilon));
    call.output.data[c] = static_cast<T>(scale);
    call.output.data[channels + c] = static_cast<T>(value(3, 0.0) - value(0, 0.0) * scale);
  }
}

/// y = act( x scale + shift )
template <class T>
void affine(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const auto record = record_of(call.input[1]).template cast<double>();
  for (int n = 0; n < x.batch; ++n)
    for (Index p = 0; p < x.pixels(); ++p)
      store_activated<T>(
          *call.node,
          channels_of(x, n, p).template cast<double>() * record.head(x.shape.channels) + record.tail(x.shape.channels),
          channels_of(call.output, n, p));
}

/// w[t][c][k] scale[k]
template <class T>
void fold_weight(const Call<T>& call) {
  const Index out = call.output.shape.channels;
  const Index rows = static_cast<Index>(call.output.shape.size()) / out;
  const auto scale = record_of(call.input[1]).head(out).template cast<double>();
  for (Index r = 0; r < rows; ++r)
    Channels<T>(call.output.data + r * out, out) =
        (Channels<T>(call.input[0].data + r * out, out).template cast<double>() * scale).template cast<T>();
}

/// shift[k] + bias[k] scale[k]
template <class T>
void fold_bias(const Call<T>& call) {
  auto to = record_of(call.output);
  const auto record = record_of(call.input[0]);
  to = record.tail(to.size());
  if (call.input[1])
    to = (to.template cast<double>() +
          record_of(call.input[1]).template cast<double>() * record.head(to.size()).template cast<double>())
             .template cast<T>();
}

}  // namespace ulna::eigen
