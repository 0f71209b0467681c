// SPDX-License-Identifier: MIT
// Max and average pooling. Pixels outside the image never win a maximum and count as zero in an average.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {

/// What a pool does with pixels at the end of an extent that no window starts at.
enum class Remainder : unsigned char {
  refuse,  ///< the network does not compile
  drop     ///< they are left out: PyTorch's default
};

namespace op {

/// Fails unless the stride divides what is left of each padded extent: a pool that dropped pixels would shift every
/// skip.
constexpr void require_stride_divides(Builder& b, Shape x, const Window& window) {
  for (const Axis axis : all_axes) {
    const AxisWindow w = along(window, axis);
    const int extent = along(x.extent(), axis);
    const int rest = extent + w.pad_before + w.pad_after - span_of(w.kernel, w.dilation);
    if (rest >= 0 && rest % w.stride != 0)
      b.fail(RuleKind::extent_must_divide, extent, w.stride,
             Sentence{} << axis_name(axis) << " " << extent << " is not divisible by " << w.stride, true);
  }
}

namespace detail {
constexpr Value pool(Builder& b, Value x, const Window& window, Op kind, Remainder remainder) {
  const Shape in = b.shape(x);
  require_kernel_fits(b, in, window);
  if (remainder == Remainder::refuse) require_stride_divides(b, in, window);
  Extent out = window_output(in.extent(), window);
  if (out.volume() <= 0) out = {};
  Node node{.op = kind, .shape = shape_of(in.channels, out), .input = {x.id, -1, -1, -1, -1, -1}};
  node.window = window;
  return b.append(node);
}
}  // namespace detail

/// y[p][c] = max over taps t inside the image of x[p stride + t dilation - pad][c].
constexpr Value max_pool(Builder& b, Value x, const Window& window, Remainder remainder = Remainder::refuse) {
  return detail::pool(b, x, window, Op::max_pool, remainder);
}

/// y[p][c] = (1 / taps) sum over taps t inside the image of x[p stride + t dilation - pad][c].
constexpr Value average_pool(Builder& b, Value x, const Window& window, Remainder remainder = Remainder::refuse) {
  return detail::pool(b, x, window, Op::average_pool, remainder);
}

}  // namespace op

template <>
struct OpRule<Op::max_pool> : OpDefaults {
  static constexpr const char* name = "max_pool";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    const int x = n.input[0];
    Node g{.op = Op::max_pool_gradient, .shape = d.b.graph.nodes[x].shape, .input = {dy.id, x, -1, -1, -1, -1}};
    g.window = n.window;
    d.contribute(x, d.append(g));
  }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    return window_reach(along(n.window, axis), out);
  }
};

/// Inputs dy, x. Each dy goes to the first tap (in tap order) that holds its window's maximum.
template <>
struct OpRule<Op::max_pool_gradient> : OpDefaults {
  static constexpr const char* name = "max_pool_gradient";
};

template <>
struct OpRule<Op::average_pool> : OpDefaults {
  static constexpr const char* name = "average_pool";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    const int x = n.input[0];
    Node g{.op = Op::average_pool_gradient, .shape = d.b.graph.nodes[x].shape, .input = {dy.id, -1, -1, -1, -1, -1}};
    g.window = n.window;
    d.contribute(x, d.append(g));
  }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    return window_reach(along(n.window, axis), out);
  }
};

/// Input dy. dx[q] = (1 / taps) sum of dy over the windows that contain q.
template <>
struct OpRule<Op::average_pool_gradient> : OpDefaults {
  static constexpr const char* name = "average_pool_gradient";
};

}  // namespace ulna
