// SPDX-License-Identifier: MIT
// The list of ops: how to draw a random case of each. Every backend's tests go through it.
//
// To add an op: write op/x.hpp and its kernel in backend/eigen/, then one line in `ops` below. Graphs, operands and
// gradients follow from the op's own rule; "no line of the list runs x" fails until the line is there.
#pragma once

#include "checks.hpp"

namespace ulna::conformance {

inline Value convolution(Draw& d) {
  const Window w = d.window(3, 3, 3);
  const int out = d.channels();
  const Value x = d.image(d.holding(w));
  const Value weight = d.b.weight("weight", d.b.shape(x).channels, out, w.kernel);
  return d.fused(op::convolution(d.b, x, weight, d.maybe(ParameterKind::bias, out), w));
}

/// The 3x3 convolution with same padding and stride 1 that networks are made of.
inline Value same_convolution(Draw& d) {
  const int out = d.channels();
  const Value x = d.image();
  const Value weight = d.b.weight("weight", d.b.shape(x).channels, out, {1, 3, 3});
  return d.fused(op::convolution(d.b, x, weight, d.maybe(ParameterKind::bias, out), window2d(3, 1, 1)));
}

/// A linear layer on every pixel: kernels make one matrix product of it.
inline Value pixel_convolution(Draw& d) {
  const int in = d.coin() ? d.channels() : d.one_of({64, 97, 130, 200});
  const int out = d.coin() ? d.channels() : d.one_of({64, 65, 96, 131});
  const Value x = d.image(in, d.extent());
  const Value weight = d.b.weight("weight", in, out, {1, 1, 1});
  return d.fused(op::convolution(d.b, x, weight, d.maybe(ParameterKind::bias, out), window2d(1)));
}

/// What graph/fuse.hpp makes of a convolution and a sum.
inline Value with_residual(Draw& d, Value y, Value residual) {
  Node& n = d.b.graph.nodes[d.fused(y).id];
  n.input[residual_input] = residual.id;
  n.residual = d.coin() ? ResidualSum::before_activation : ResidualSum::after_activation;
  return y;
}

inline Value residual_convolution(Draw& d) {
  const Value y = convolution(d);
  return with_residual(d, y, d.like(y));
}

/// A block of a ResNet, or a step of a recurrent convolution: the residual may be what the convolution reads.
inline Value same_residual_convolution(Draw& d) {
  const int channels = d.channels();
  const Value x = d.image(channels, d.extent());
  const Value weight = d.b.weight("weight", channels, channels, {1, 3, 3});
  const Value residual = d.coin() ? d.like(x) : x;
  return with_residual(d, op::convolution(d.b, x, weight, d.maybe(ParameterKind::bias, channels), window2d(3, 1, 1)),
                       residual);
}

/// The second linear layer of a transformer's perceptron.
inline Value pixel_residual_convolution(Draw& d) {
  const Value y = pixel_convolution(d);
  return with_residual(d, y, d.like(y));
}

/// A convolution that computes the max pool of its output too, with a residual
/// at times.
inline Value pooled_convolution(Draw& d) {
  const int in = d.channels();
  const int out = d.channels();
  const Value x = d.image(in, d.extent({1, 2, 2}));
  const Value weight = d.b.weight("weight", in, out, {1, 3, 3});
  Value y = d.fused(op::convolution(d.b, x, weight, d.maybe(ParameterKind::bias, out), window2d(3, 1, 1)));
  if (d.below(3) == 0) y = with_residual(d, y, d.like(y));
  const Value pool = op::max_pool(d.b, y, window2d(2, 2), Remainder::drop);
  d.b.graph.nodes[y.id].pooled = d.b.graph.nodes[pool.id].pooled = true;
  return pool;
}

/// One weight applied twice: its gradient accumulates.
inline Value recurrent_convolution(Draw& d) {
  const Value x = d.image();
  const int channels = d.b.shape(x).channels;
  const Value weight = d.b.weight("weight", channels, channels, {1, 3, 3});
  const Value bias = d.vector(ParameterKind::bias, channels);
  const Value once = d.fused(op::convolution(d.b, x, weight, bias, window2d(3, 1, 1)));
  return op::convolution(d.b, once, weight, bias, window2d(3, 1, 1));
}

inline Value transposed_convolution(Draw& d) {
  Window w = d.window(3, 2, 1);
  const auto fit = [](int pad, int kernel) { return kernel > 2 ? pad : 0; };
  w.pad_before = eigen::each_axis(fit, w.pad_before, w.kernel);
  w.pad_after = eigen::each_axis(fit, w.pad_after, w.kernel);
  const int out = d.channels();
  const Value x = d.image();
  const Value weight = d.b.transposed_weight("weight", d.b.shape(x).channels, out, w.kernel);
  return d.fused(op::transposed_convolution(d.b, x, weight, d.maybe(ParameterKind::bias, out), w));
}

/// The 2x2 up-convolution of a U-Net.
inline Value up_convolution(Draw& d) {
  const int out = d.channels();
  const Value x = d.image();
  const Value weight = d.b.transposed_weight("weight", d.b.shape(x).channels, out, {1, 2, 2});
  return op::transposed_convolution(d.b, x, weight, d.vector(ParameterKind::bias, out), window2d(2, 2));
}

inline Value pooled(Draw& d, Value (*pool)(Builder&, Value, const Window&, Remainder)) {
  const Window w = d.coin() ? window2d(2, 2) : d.pool_window();
  if (d.below(3) == 0) return pool(d.b, d.image(d.holding(w)), w, Remainder::drop);
  return pool(d.b, d.image(d.divisible(w)), w, Remainder::refuse);
}

inline Extent factor_of(Draw& d) {
  const int height = 1 + d.below(4);
  return d.coin() ? Extent{1, 2, 2} : Extent{1, height, 1 + d.below(4)};
}

inline Value upsample_nearest(Draw& d) {
  const Extent factor = factor_of(d);
  return op::upsample_nearest(d.b, d.image(), factor);
}

inline Value bilinear(Draw& d, bool align_corners) {
  const Extent factor = factor_of(d);
  return op::upsample_bilinear(d.b, d.image(), factor, align_corners);
}

inline NormAttributes norm_of(Draw& d, int channels) {
  NormAttributes norm{.groups = channels, .over_batch = d.coin()};
  if (!norm.over_batch && d.coin()) norm.groups = channels % 4 == 0 ? 4 : channels % 3 == 0 ? 3 : 1;
  return norm;
}

inline Value normalize(Draw& d) {
  const int channels = d.channels();
  const Value x = d.image(channels, d.extent({1, 3, 3}));
  const Value moments = op::moments(d.b, x, norm_of(d, channels));
  const bool scaled = d.coin();
  const Value gamma = scaled ? d.vector(ParameterKind::scale, channels) : Value{};
  const Value beta = scaled ? d.vector(ParameterKind::bias, channels) : Value{};
  return d.fused(op::normalize(d.b, x, moments, gamma, beta));
}

inline Value update_running(Draw& d) {
  const int channels = d.channels();
  const Value x = d.image(channels, d.extent({1, 2, 2}));
  const Value moments = op::moments(d.b, x, {.groups = channels, .over_batch = true, .momentum = 0.3f});
  const Value mean = d.vector(ParameterKind::running_mean, channels);
  op::update_running(d.b, x, moments, mean, d.vector(ParameterKind::running_variance, channels));
  return moments;
}

inline Value running_record(Draw& d, int channels) {
  const Value mean = d.vector(ParameterKind::running_mean, channels);
  const Value variance = d.vector(ParameterKind::running_variance, channels);
  const bool scaled = d.coin();
  const Value gamma = scaled ? d.vector(ParameterKind::scale, channels) : Value{};
  const Value beta = scaled ? d.vector(ParameterKind::bias, channels) : Value{};
  return op::running_affine(d.b, mean, variance, gamma, beta, {.groups = channels, .over_batch = true});
}

inline Value affine(Draw& d) {
  const Value x = d.image();
  return d.fused(op::affine(d.b, x, running_record(d, d.b.shape(x).channels)));
}

/// A convolution with a batch norm folded into it, as graph/fuse.hpp writes it.
inline Value folded(Draw& d) {
  const Window w = d.window(1, 1, 1);
  const int out = d.channels();
  const Value x = d.image(d.holding(w));
  const Value weight = d.b.weight("weight", d.b.shape(x).channels, out, w.kernel);
  const Value bias = d.maybe(ParameterKind::bias, out);
  const Value record = running_record(d, out);
  Node fold_weight{.op = Op::fold_weight, .shape = d.b.shape(weight), .input = {weight.id, record.id, -1, -1, -1, -1}};
  Node fold_bias{.op = Op::fold_bias, .shape = {out}, .input = {record.id, bias.id, -1, -1, -1, -1}};
  fold_weight.per_sample = fold_bias.per_sample = false;
  const Value folded_weight = d.b.append(fold_weight);
  return d.fused(op::convolution(d.b, x, folded_weight, d.b.append(fold_bias), w));
}

inline Value activation(Draw& d) {
  const auto kind = static_cast<Activation>(1 + d.below(4));
  return op::activation(d.b, d.image(), kind, 0.2f);
}

inline Value add(Draw& d) {
  const Value x = d.image();
  return d.fused(op::add(d.b, x, d.coin() ? d.like(x) : x));
}

inline Value multiply(Draw& d) {
  const Value x = d.image();
  return op::multiply(d.b, x, d.coin() ? d.like(x) : x);
}

/// An attention map on every channel.
inline Value multiply_pixels(Draw& d) {
  const Value map = d.image(1, d.extent());  // first: backends are compared on the gradient by the first image
  return op::multiply(d.b, d.image(d.channels(), d.b.shape(map).extent()), map);
}

inline Value layer_norm(Draw& d) {
  const int channels = 2 + d.channels();
  const Value x = d.image(channels, d.extent());
  const Value gamma = d.vector(ParameterKind::scale, channels);
  return op::layer_norm(d.b, x, gamma, d.vector(ParameterKind::bias, channels), 1e-3f);
}

inline Value standardized_convolution(Draw& d) {
  const Window w = d.window(2, 1, 2);
  const int out = d.channels();
  const Value x = d.image(1 + d.channels(), d.extent(d.holding(w)));
  const Value weight = d.b.weight("weight", d.b.shape(x).channels, out, w.kernel);
  return op::convolution(d.b, x, op::standardize_weight(d.b, weight, 1e-3f), {}, w);
}

inline Value add_embedding(Draw& d) {
  const Value x = d.image();
  return op::add_embedding(d.b, x, d.b.embedding("positions", d.b.shape(x).extent(), d.b.shape(x).channels));
}

inline Value attention(Draw& d) {
  const int heads = 1 + d.below(3);
  const int height = 1 + d.below(d.large ? 24 : 4);
  const Value q = d.image(heads * d.one_of({1, 3, 8, 17, 32, 64}), {1, height, 1 + d.below(d.large ? 24 : 4)});
  const Value k = d.like(q);
  return op::attention(d.b, q, k, d.like(q), heads);
}

/// x read by the concatenation, by a slice of it and by a sum: gradients are slices, and meet.
inline Value concat(Draw& d) {
  const Value x = d.image();
  const int channels = d.channels();
  const Value y = d.image(channels, d.b.shape(x).extent());
  const Value joined = op::concat(d.b, x, y);
  const Value more[] = {joined, x, y, x, joined};
  return d.coin() ? op::concat(d.b, more) : joined;
}

inline Value crop(Draw& d) {
  const Value x = d.image(d.extent({1, 3, 3}));
  const auto smaller = [&](int size) { return std::max(1, size - d.below(4)); };
  return op::activation(d.b, op::crop(d.b, x, eigen::each_axis(smaller, d.b.shape(x).extent())), Activation::sigmoid);
}

inline Value padded(Draw& d, Border border) {
  const auto few = [&](int most) { return d.below(most + 1); };
  const Value x = d.image(d.extent({1, 4, 4}));
  const Extent before = eigen::each_axis(few, Extent{0, 3, 3});
  return op::pad(d.b, x, before, eigen::each_axis(few, Extent{0, 3, 3}), border);
}

inline Value cross_entropy(Draw& d) {
  const Value x = d.logits(2 + d.below(6));
  const Value y = d.labels(x);
  return op::weighted_sum(d.b, op::cross_entropy(d.b, x, y, d.maybe_weights(x)), 0.7f);
}

inline Value binary_cross_entropy(Draw& d) {
  const Value x = d.logits(1);
  const Value y = d.labels(x);
  return op::binary_cross_entropy(d.b, x, y, d.maybe_weights(x));
}

inline DiceAttributes dice_of(Draw& d) {
  return {.smooth_numerator = d.coin() ? 1.0f : 0.0f,
          .smooth_denominator = d.coin() ? 1.0f : 1e-3f,
          .squared = d.coin(),
          .include_background = d.coin(),
          .per_sample = d.coin()};
}

inline Value soft_dice(Draw& d) {
  const Value x = d.logits(1 + d.below(5));
  return op::weighted_sum(d.b, op::soft_dice(d.b, x, d.labels(x), dice_of(d)), 1.3f);
}

/// Dice and cross-entropy together.
inline Value weighted_sum(Draw& d) {
  const Value x = d.logits(3);
  const Value y = d.labels(x);
  const Value dice = op::soft_dice(d.b, x, y, dice_of(d));
  return op::weighted_sum(d.b, dice, 0.4f, op::cross_entropy(d.b, x, y, d.maybe_weights(x)), 0.6f);
}

inline constexpr OpCase ops[] = {
    {"convolution", convolution},
    {"same_convolution", same_convolution},
    {"pixel_convolution", pixel_convolution},
    {"residual_convolution", residual_convolution, false},
    {"same_residual_convolution", same_residual_convolution, false},
    {"pixel_residual_convolution", pixel_residual_convolution, false},
    {"pooled_convolution", pooled_convolution, false},
    {"recurrent_convolution", recurrent_convolution},
    {"transposed_convolution", transposed_convolution},
    {"up_convolution", up_convolution},
    {"max_pool", [](Draw& d) { return pooled(d, op::max_pool); }},
    {"average_pool", [](Draw& d) { return pooled(d, op::average_pool); }},
    {"upsample_nearest", upsample_nearest},
    {"upsample_bilinear", [](Draw& d) { return bilinear(d, false); }},
    {"upsample_bilinear_corners", [](Draw& d) { return bilinear(d, true); }},
    {"normalize", normalize},
    {"update_running", update_running, false},
    {"affine", affine, false},
    {"folded", folded, false},
    {"activation", activation},
    {"softmax", [](Draw& d) { return op::softmax(d.b, d.image()); }},
    {"dropout", [](Draw& d) { return op::dropout(d.b, d.image(), 0.3f); }},
    {"add", add},
    {"multiply", multiply},
    {"multiply_pixels", multiply_pixels},
    {"scale", [](Draw& d) { return op::scale(d.b, d.image(), -0.75f); }},
    {"layer_norm", layer_norm},
    {"standardized_convolution", standardized_convolution},
    {"add_embedding", add_embedding},
    {"attention", attention},
    {"concat", concat},
    {"crop", crop},
    {"pad_zero", [](Draw& d) { return padded(d, Border::zero); }},
    {"pad_reflect", [](Draw& d) { return padded(d, Border::reflect); }},
    {"cross_entropy", cross_entropy},
    {"binary_cross_entropy", binary_cross_entropy},
    {"soft_dice", soft_dice},
    {"weighted_sum", weighted_sum},
};

inline constexpr int variants = 18;  ///< random cases of each op; every sixth is large

inline std::unique_ptr<Draw> drawn(const OpCase& op, int variant, Value& y, bool volumes = false) {
  auto d = std::make_unique<Draw>(op.name, variant, volumes);
  y = op.build(*d);
  REQUIRE_MESSAGE(!d->b.diagnostic,
                  op.name << ": " << std::string(d->b.diagnostic.sentence.begin(), d->b.diagnostic.sentence.end()));
  return d;
}

}  // namespace ulna::conformance
