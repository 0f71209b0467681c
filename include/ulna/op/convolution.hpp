// SPDX-License-Identifier: MIT
// Convolution (correlation, as the field means it) with zero borders, and its two gradients.
//
// forward      y[p][k] = act( bias[k] + sum over taps t, channels c of x[p stride + t dilation - pad][c] w[t][c][k] )
// by the input dx = transposed convolution of dy with the same window and the weight's channel axes swapped
// by the weight dw[t][c][k] = sum over samples, p of x[p stride + t dilation - pad][c] dy[p][k]
//
// At inference a further input may be added to y in the same pass, before or after the activation (ResidualSum), and
// the maxima of y's 2x2 windows may be written too (Call::pool).
//
// With swap_channels the weight is stored [t][k][c] (a transposed convolution's, of which this is the input gradient).
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/activation.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// x {C, D, H, W}, weight from Builder::weight(in = C, out = K), optional bias {K} -> {K, window_output(extent)}.
constexpr Value convolution(Builder& b, Value x, Value weight, Value bias, const Window& window) {
  const Shape in = b.shape(x);
  const Shape w = b.shape(weight);
  require_kernel_fits(b, in, window);
  if (w.width != in.channels)
    b.fail(RuleKind::channels_must_match, in.channels, w.width,
           Sentence{} << "the weight expects " << w.width << " input channels, the input has " << in.channels
                      << "; make the weight from the input's shape",
           false);
  Extent out = window_output(in.extent(), window);
  if (out.volume() <= 0) out = {};  // a rule is already broken; go on with a plausible shape
  Node node{.op = Op::convolution, .shape = shape_of(w.channels, out), .input = {x.id, weight.id, bias.id, -1, -1, -1}};
  node.window = window;
  return b.append(node);
}

namespace detail {

/// The gradients of a convolution, or of a transposed one: each is the other's gradient by the input, and in the
/// gradient by the weight the larger and the smaller map change roles.
constexpr void convolution_backward(Backward& d, const Node& n, int id, Value dy, bool transposed) {
  dy = activation_backward(d, n, id, dy);
  const int x = n.input[0];
  const int w = n.input[1];
  const int bias = n.input[2];
  if (d.wanted(bias)) {
    Node g{.op = Op::bias_gradient, .shape = d.b.graph.nodes[bias].shape, .input = {dy.id, -1, -1, -1, -1, -1}};
    d.contribute_parameter(bias, g);
  }
  if (d.wanted(w)) {
    Node g{.op = Op::convolution_weight_gradient, .shape = d.b.graph.nodes[w].shape};
    g.input[0] = transposed ? dy.id : x;
    g.input[1] = transposed ? x : dy.id;
    g.window = n.window;
    g.swap_channels = transposed;
    d.contribute_weight(w, g);
  }
  if (d.wanted(x)) {
    Node g{.op = transposed ? Op::convolution : Op::transposed_convolution,
           .shape = d.b.graph.nodes[x].shape,
           .input = {dy.id, w, -1, -1, -1, -1}};
    g.window = n.window;
    g.swap_channels = true;
    d.contribute(x, d.append(g));
  }
}

}  // namespace detail
}  // namespace op

template <>
struct OpRule<Op::convolution> : OpDefaults {
  static constexpr const char* name = "convolution";

  static constexpr void differentiate(Backward& d, const Node& n, int id, Value dy) {
    op::detail::convolution_backward(d, n, id, dy, false);
  }

  static constexpr std::int64_t macs(const auto& graph, const Node& n) {
    return n.shape.size() * n.window.taps() * graph.input(n, 0).shape.channels;
  }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    return window_reach(along(n.window, axis), out);
  }
};

/// Inputs `large` and `small`: the gradient [tap][in][out] of a weight that maps windows of `large` to pixels of
/// `small`:
///   g[t][l][s] = sum over samples and pixels p of small of large[p stride + t dilation - pad][l] small[p][s]
/// stored as [tap][in = l][out = s], or as [tap][in = s][out = l] with swap_channels (transposed convolution).
template <>
struct OpRule<Op::convolution_weight_gradient> : OpDefaults {
  static constexpr const char* name = "convolution_weight_gradient";
  static constexpr std::int64_t macs(const auto& graph, const Node& n) {
    return graph.input(n, 1).shape.size() * n.window.taps() * graph.input(n, 0).shape.channels;
  }
};

/// g[k] = sum over samples and pixels of dy[k].
template <>
struct OpRule<Op::bias_gradient> : OpDefaults {
  static constexpr const char* name = "bias_gradient";
};

}  // namespace ulna
