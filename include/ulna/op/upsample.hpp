// SPDX-License-Identifier: MIT
// Nearest and (bi-, tri-)linear upsampling by whole factors, kept in window.stride.
//
// nearest   y[p] = x[floor(p / factor)]
// bilinear  y[p] = linear interpolation of x at
//             align_corners  p (n - 1) / (n factor - 1)            (0 where n = 1)
//             otherwise      max((p + 1/2) / factor - 1/2, 0)
//           along each axis, n the input's extent; the right neighbour is clamped to the edge.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

namespace detail {
constexpr Value upsample(Builder& b, Value x, Extent factor, Op kind, bool align_corners) {
  const Shape in = b.shape(x);
  Node node{.op = kind,
            .shape = {in.channels, in.depth * factor.depth, in.height * factor.height, in.width * factor.width},
            .input = {x.id, -1, -1, -1, -1, -1}};
  node.window.stride = factor;
  node.align_corners = align_corners;
  return b.append(node);
}
constexpr void upsample_backward(Backward& d, const Node& n, Value dy, Op kind) {
  Node g{.op = kind, .shape = d.b.graph.nodes[n.input[0]].shape, .input = {dy.id, -1, -1, -1, -1, -1}};
  g.window = n.window;
  g.align_corners = n.align_corners;
  d.contribute(n.input[0], d.append(g));
}
}  // namespace detail

constexpr Value upsample_nearest(Builder& b, Value x, Extent factor) {
  return detail::upsample(b, x, factor, Op::upsample_nearest, false);
}
constexpr Value upsample_bilinear(Builder& b, Value x, Extent factor, bool align_corners) {
  return detail::upsample(b, x, factor, Op::upsample_bilinear, align_corners);
}

}  // namespace op

template <>
struct OpRule<Op::upsample_nearest> : OpDefaults {
  static constexpr const char* name = "upsample_nearest";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    op::detail::upsample_backward(d, n, dy, Op::upsample_nearest_gradient);
  }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    const int f = along(n.window.stride, axis);
    return {floor_div(out.low, f), floor_div(out.high, f), out.bounded};
  }
};

/// Input dy. The adjoint: sums dy over the pixels that read x.
template <>
struct OpRule<Op::upsample_nearest_gradient> : OpDefaults {
  static constexpr const char* name = "upsample_nearest_gradient";
};

template <>
struct OpRule<Op::upsample_bilinear> : OpDefaults {
  static constexpr const char* name = "upsample_bilinear";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    op::detail::upsample_backward(d, n, dy, Op::upsample_bilinear_gradient);
  }
  static constexpr std::int64_t macs(const auto&, const Node& n) { return 4 * n.shape.size(); }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    const int f = along(n.window.stride, axis);
    if (f == 1) return out;
    // with align_corners the sampling positions depend on the whole extent, so a tile cannot reproduce them
    if (n.align_corners) return {out.low, out.high, false};
    return {floor_div(2 * out.low + 1 - f, 2 * f), floor_div(2 * out.high + 1 - f, 2 * f) + 1, out.bounded};
  }
};

/// Input dy. The adjoint of the interpolation.
template <>
struct OpRule<Op::upsample_bilinear_gradient> : OpDefaults {
  static constexpr const char* name = "upsample_bilinear_gradient";
};

}  // namespace ulna
