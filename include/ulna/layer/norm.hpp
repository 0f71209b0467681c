// SPDX-License-Identifier: MIT
// Normalisation layers; also the `norm` option of networks.
#pragma once

#include "ulna/layer/layer.hpp"
#include "ulna/layer/options.hpp"

namespace ulna::norm {

struct question {};

/// No normalisation.
struct None {
  using option = question;
  static constexpr bool present = false;
  static constexpr Value lower(Builder&, Value x, const char* = "norm") { return x; }
};

/// Over the batch while training, running statistics at inference (Ioffe and Szegedy 2015); epsilon 1e-5, momentum 0.1.
struct Batch {
  using option = question;
  static constexpr bool present = true;

  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    const auto s = b.scope(name);
    const int channels = b.shape(x).channels;
    const NormAttributes attributes{.groups = channels, .over_batch = true};
    const Value gamma = b.vector("weight", ParameterKind::scale, channels);
    const Value beta = b.vector("bias", ParameterKind::bias, channels);
    const Value mean = b.vector("running_mean", ParameterKind::running_mean, channels);
    const Value variance = b.vector("running_var", ParameterKind::running_variance, channels);
    if (!b.training()) return op::affine(b, x, op::running_affine(b, mean, variance, gamma, beta, attributes));
    const Value m = op::moments(b, x, attributes);
    op::update_running(b, x, m, mean, variance);
    return op::normalize(b, x, m, gamma, beta);
  }
};

namespace detail {
constexpr Value per_sample(Builder& b, Value x, int groups, bool affine, const char* name) {
  const auto s = b.scope(name);
  const int channels = b.shape(x).channels;
  const Value gamma = affine ? b.vector("weight", ParameterKind::scale, channels) : Value{};
  const Value beta = affine ? b.vector("bias", ParameterKind::bias, channels) : Value{};
  return op::normalize(b, x, op::moments(b, x, {.groups = groups, .over_batch = false}), gamma, beta);
}
}  // namespace detail

/// Each channel of each sample by its own statistics (Ulyanov et al. 2016), with learned scale and shift unless Affine
/// is false. The statistics of the whole image: tiles cannot be exact.
template <bool Affine = true>
struct Instance {
  using option = question;
  static constexpr bool present = true;
  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    return detail::per_sample(b, x, b.shape(x).channels, Affine, name);
  }
};

/// Groups of channels of each sample (Wu and He 2018). Fewer channels than Groups: one group for each channel.
template <int Groups = 8>
struct Group {
  using option = question;
  static constexpr bool present = true;
  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    const int channels = b.shape(x).channels;
    return detail::per_sample(b, x, channels < Groups ? channels : Groups, true, name);
  }
};

}  // namespace ulna::norm
