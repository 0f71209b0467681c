// SPDX-License-Identifier: MIT
// Normalisation layers; also the `norm` option of networks.
#pragma once

#include <ratio>

#include "ulna/layer/layer.hpp"
#include "ulna/layer/options.hpp"

namespace ulna::norm {

struct question {};

/// The learned scale and shift of a norm; absent where it has none.
struct Affine {
  Value gamma, beta;
};
/// The running statistics of batch norm; absent in other norms.
struct Statistics {
  Value mean, variance;
};

// A norm comes in parts, so that a layer that is applied several times can share the one and not the other:
// affine(b, channels) and statistics(b, channels) make parameters in the current scope, apply(b, x, affine, statistics)
// normalises. lower(b, x, name) is all of it, once.

namespace detail {
template <class Norm>
constexpr Value once(Builder& b, Value x, const char* name) {
  const auto s = b.scope(name);
  const int channels = b.shape(x).channels;
  const Affine affine = Norm::affine(b, channels);
  return Norm::apply(b, x, affine, Norm::statistics(b, channels));
}
constexpr Affine learned_affine(Builder& b, int channels) {
  const Value gamma = b.vector("weight", ParameterKind::scale, channels);
  return {gamma, b.vector("bias", ParameterKind::bias, channels)};
}
constexpr Value per_sample(Builder& b, Value x, int groups, const Affine& affine, float epsilon = 1e-5f) {
  const Value moments = op::moments(b, x, {.groups = groups, .over_batch = false, .epsilon = epsilon});
  return op::normalize(b, x, moments, affine.gamma, affine.beta);
}
struct WithoutStatistics {
  static constexpr Statistics statistics(Builder&, int) { return {}; }
};
}  // namespace detail

/// No normalisation.
struct None : detail::WithoutStatistics {
  using option = question;
  static constexpr bool present = false;
  static constexpr Affine affine(Builder&, int) { return {}; }
  static constexpr Value apply(Builder&, Value x, const Affine&, const Statistics&) { return x; }
  static constexpr Value lower(Builder&, Value x, const char* = "norm") { return x; }
};

/// Over the batch while training, running statistics at inference (Ioffe and Szegedy 2015); epsilon 1e-5, momentum 0.1.
struct Batch {
  using option = question;
  static constexpr bool present = true;
  static constexpr Affine affine(Builder& b, int channels) { return detail::learned_affine(b, channels); }
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
    return detail::once<Batch>(b, x, name);
  }
};

/// Each channel of each sample by its own statistics (Ulyanov et al. 2016), with learned scale and shift unless
/// Learned is false. The statistics of the whole image: tiles cannot be exact.
template <bool Learned = true>
struct Instance : detail::WithoutStatistics {
  using option = question;
  static constexpr bool present = true;
  static constexpr Affine affine(Builder& b, int channels) {
    return Learned ? detail::learned_affine(b, channels) : Affine{};
  }
  static constexpr Value apply(Builder& b, Value x, const Affine& a, const Statistics&) {
    return detail::per_sample(b, x, b.shape(x).channels, a);
  }
  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    return detail::once<Instance>(b, x, name);
  }
};

/// Groups of channels of each sample (Wu and He 2018). Fewer channels than Groups: one group for each channel.
template <int Groups = 8, class Epsilon = std::ratio<1, 100'000>>
struct Group : detail::WithoutStatistics {
  using option = question;
  static constexpr bool present = true;
  static constexpr Affine affine(Builder& b, int channels) { return detail::learned_affine(b, channels); }
  static constexpr Value apply(Builder& b, Value x, const Affine& a, const Statistics&) {
    const int channels = b.shape(x).channels;
    return detail::per_sample(b, x, channels < Groups ? channels : Groups, a, ulna::detail::value_of<Epsilon>);
  }
  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    return detail::once<Group>(b, x, name);
  }
};

/// Each pixel by the statistics of its own channels (Ba, Kiros, Hinton 2016): the norm of transformers. Tiles stay
/// exact.
template <class Epsilon = std::ratio<1, 1'000'000>>
struct Layer : detail::WithoutStatistics {
  using option = question;
  static constexpr bool present = true;
  static constexpr Affine affine(Builder& b, int channels) { return detail::learned_affine(b, channels); }
  static constexpr Value apply(Builder& b, Value x, const Affine& a, const Statistics&) {
    return op::layer_norm(b, x, a.gamma, a.beta, ulna::detail::value_of<Epsilon>);
  }
  static constexpr Value lower(Builder& b, Value x, const char* name = "norm") {
    return detail::once<Layer>(b, x, name);
  }
};

}  // namespace ulna::norm
