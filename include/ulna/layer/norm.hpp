// SPDX-License-Identifier: MIT
// Normalisation layers; also the `norm` option of networks.
#pragma once

#include <ratio>

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

  /// The learned scale and shift, and the running statistics: separate, so that a layer applied several times can share
  /// the one and not the other.
  struct Affine {
    Value gamma, beta;
  };
  struct Statistics {
    Value mean, variance;
  };
  static constexpr Affine affine(Builder& b, int channels) {
    const Value gamma = b.vector("weight", ParameterKind::scale, channels);
    return {gamma, b.vector("bias", ParameterKind::bias, channels)};
  }
  static constexpr Statistics statistics(Builder& b, int channels) {
    const Value mean = b.vector("running_mean", ParameterKind::running_mean, channels);
    return {mean, b.vector("running_var", ParameterKind::running_variance, channels)};
  }
  static constexpr Value apply(Builder& b, Value x, const Affine& a, const Statistics& s) {
    const NormAttributes attributes{.groups = b.shape(x).channels, .over_batch = true};
    if (!b.training()) return op::affine(b, x, op::running_affine(b, s.mean, s.variance, a.gamma, a.beta, attributes));
    const Value m = op::moments(b, x, attributes);
    op::update_running(b, x, m, s.mean, s.variance);
    return op::normalize(b, x, m, a.gamma, a.beta);
  }

  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    const auto s = b.scope(name);
    const int channels = b.shape(x).channels;
    const Affine a = affine(b, channels);
    return apply(b, x, a, statistics(b, channels));
  }
};

namespace detail {
constexpr Value per_sample(Builder& b, Value x, int groups, bool affine, const char* name, float epsilon = 1e-5f) {
  const auto s = b.scope(name);
  const int channels = b.shape(x).channels;
  const Value gamma = affine ? b.vector("weight", ParameterKind::scale, channels) : Value{};
  const Value beta = affine ? b.vector("bias", ParameterKind::bias, channels) : Value{};
  return op::normalize(b, x, op::moments(b, x, {.groups = groups, .over_batch = false, .epsilon = epsilon}), gamma,
                       beta);
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
template <int Groups = 8, class Epsilon = std::ratio<1, 100'000>>
struct Group {
  using option = question;
  static constexpr bool present = true;
  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    const int channels = b.shape(x).channels;
    return detail::per_sample(b, x, channels < Groups ? channels : Groups, true, name, ulna::detail::value_of<Epsilon>);
  }
};

/// Each pixel by the statistics of its own channels (Ba, Kiros, Hinton 2016): the norm of transformers. Tiles stay
/// exact.
template <class Epsilon = std::ratio<1, 1'000'000>>
struct Layer {
  using option = question;
  static constexpr bool present = true;
  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    const auto s = b.scope(name);
    const int channels = b.shape(x).channels;
    const Value gamma = b.vector("weight", ParameterKind::scale, channels);
    const Value beta = b.vector("bias", ParameterKind::bias, channels);
    return op::layer_norm(b, x, gamma, beta, ulna::detail::value_of<Epsilon>);
  }
};

}  // namespace ulna::norm
