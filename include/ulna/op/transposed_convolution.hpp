// SPDX-License-Identifier: MIT
// Transposed convolution: the adjoint of the convolution with the same window.
//
//   y[p stride + t dilation - pad][k] += x[p][c] w[t][c][k] for every pixel p of x and tap t; then bias and activation.
// With swap_channels the weight is stored [tap][k][c] (a convolution's weight, when this is its input gradient).
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/convolution.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// x {C, ...}, weight from Builder::transposed_weight(in = C, out = K), optional bias {K} -> {K,
/// transposed_output(extent)}.
constexpr Value transposed_convolution(Builder& b, Value x, Value weight, Value bias, const Window& window) {
  const Shape in = b.shape(x);
  Extent out = transposed_output(in.extent(), window);
  if (out.depth < 1 || out.height < 1 || out.width < 1) {
    b.fail(RuleKind::value_must_be_positive, out.height < out.width ? out.height : out.width, 1,
           Sentence{} << "the padding removes the whole output; use less padding", false);
    out = {};
  }
  Node node{.op = Op::transposed_convolution,
            .shape = shape_of(b.shape(weight).channels, out),
            .input = {x.id, weight.id, bias.id, -1, -1, -1}};
  node.window = window;
  return b.append(node);
}

}  // namespace op

template <>
struct OpRule<Op::transposed_convolution> : OpDefaults {
  static constexpr const char* name = "transposed_convolution";

  static constexpr void differentiate(Backward& d, const Node& n, int id, Value dy) {
    op::detail::convolution_backward(d, n, id, dy, true);
  }

  static constexpr std::int64_t macs(const auto& graph, const Node& n) {
    return graph.input(n, 0).shape.size() * n.window.taps() * n.shape.channels;
  }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    return transposed_reach(along(n.window, axis), out);
  }
};

}  // namespace ulna
