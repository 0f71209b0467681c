// SPDX-License-Identifier: MIT
// Attention gates: what happens to a skip before it is joined, given what comes up (Oktay et al., "Attention U-Net:
// Learning Where to Look for the Pancreas", MIDL 2018).
//
// A gate is a policy with
//   static constexpr Value lower(Builder&, Value skip, Value up, Value below, int level)
// where `skip` is the encoder's map at a level (0 is the finest), `up` what came up to that level, and `below` the
// decoder's coarser map that it came from. It opens the scope "gate" and publishes "attention", the map of factors in
// (0, 1), one channel: Predictor::published("decoder[2]/gate/attention").
#pragma once

#include "ulna/layer/activation.hpp"
#include "ulna/layer/conv.hpp"
#include "ulna/layer/norm.hpp"
#include "ulna/layer/resample.hpp"

namespace ulna::gate {

struct question {};

/// The skip as it is.
struct None {
  using option = question;
  static constexpr Value lower(Builder&, Value skip, Value /*up*/, Value /*below*/, int /*level*/) { return skip; }
};

/// Channels inside a gate (F_int), given those of the skip.
namespace inner {
/// Half of them, at least one.
struct Half {
  static constexpr int of(int channels) { return channels > 1 ? channels / 2 : 1; }
};
/// As many.
struct Whole {
  static constexpr int of(int channels) { return channels; }
};
/// A fixed number.
template <int Count>
struct Channels {
  static_assert(Count >= 1, "gate::inner::Channels: Count must be at least 1");
  static constexpr int of(int) { return Count; }
};
}  // namespace inner

namespace detail {
/// A 1x1 convolution with bias.
constexpr Value pointwise(Builder& b, Value x, int channels, const char* name) {
  return layer::conv(b, x, {.channels = channels, .kernel = 1, .padding = Padding::valid}, name);
}
constexpr Value relu_of_sum(Builder& b, Value x, Value y) { return activation::ReLU::lower(b, op::add(b, x, y)); }
}  // namespace detail

/// The gate of popular 2-D code (LeeJunHyun/Image_Segmentation), at the skip's own resolution and on every skip:
///   attention = sigmoid(norm(psi relu(norm(W_g up) + norm(W_x skip)))), result = attention skip
/// Every W is a 1x1 convolution; biases stay although norms follow, as in the weights that exist.
/// Parameters: gate.{g_conv, g_norm, x_conv, x_norm, psi_conv, psi_norm}.
template <class Inner = inner::Half, class Norm = norm::Batch>
struct Popular {
  using option = question;
  static constexpr Value lower(Builder& b, Value skip, Value up, Value /*below*/, int /*level*/) {
    const auto s = b.scope("gate");
    skip = op::crop(b, skip, b.shape(up).extent());
    const int channels = Inner::of(b.shape(skip).channels);
    const Value g = Norm::lower(b, detail::pointwise(b, up, channels, "g_conv"), "g_norm");
    const Value x = Norm::lower(b, detail::pointwise(b, skip, channels, "x_conv"), "x_norm");
    const Value psi = detail::pointwise(b, detail::relu_of_sum(b, g, x), 1, "psi_conv");
    const Value attention = activation::Sigmoid::lower(b, Norm::lower(b, psi, "psi_norm"));
    b.publish("attention", attention);
    return op::multiply(b, skip, attention);
  }
};

/// The grid gate of the paper's authors (ozan-oktay/Attention-Gated-Networks), on every skip but the finest: the
/// coarser map gates, on its own grid, and the attention is resampled to the skip.
///   a = sigmoid(psi relu(theta skip + phi below)), attention = bilinear(a), result = norm(w (attention skip))
/// theta is a 2x2 convolution with stride 2 and no bias; phi, psi and w are 1x1. The skip's extent must be even; what
/// is below then has half of it, so that phi needs no resampling. The authors' bottleneck passes through one more 1x1
/// convolution before it gates, which is not done here. Parameters: gate.{theta, phi, psi, w_conv, w_norm}.
template <class Inner = inner::Whole, class Norm = norm::Batch>
struct Grid {
  using option = question;
  static constexpr Value lower(Builder& b, Value skip, Value up, Value below, int level) {
    if (level == 0) return skip;
    const auto s = b.scope("gate");
    skip = op::crop(b, skip, b.shape(up).extent());
    const Window halving = ulna::detail::tiles_of(b, skip, 2);
    op::require_stride_divides(b, b.shape(skip), halving);
    const int channels = b.shape(skip).channels;
    const int inner_channels = Inner::of(channels);
    const Value theta = layer::conv(
        b, skip, {.channels = inner_channels, .kernel = 2, .stride = 2, .padding = Padding::valid, .bias = false},
        "theta");
    const Value phi = detail::pointwise(b, below, inner_channels, "phi");
    const Value psi = detail::pointwise(b, detail::relu_of_sum(b, theta, phi), 1, "psi");
    const Value coarse = activation::Sigmoid::lower(b, psi);
    const Value attention = op::upsample_bilinear(b, coarse, halving.stride, false);
    b.publish("attention", attention);
    return Norm::lower(b, detail::pointwise(b, op::multiply(b, skip, attention), channels, "w_conv"), "w_norm");
  }
};

}  // namespace ulna::gate
