// SPDX-License-Identifier: MIT
// What every file of `op/` specialises, and what the passes ask of it.
#pragma once

#include <cstdint>

#include "ulna/graph/builder.hpp"

namespace ulna {

class Backward;

/// An inclusive range of pixels along one axis that a range of output pixels depends on.
struct Interval {
  int low = 0;
  int high = 0;
  bool bounded = true;  ///< false: every pixel of the input matters, so no halo is wide enough

  constexpr bool operator==(const Interval&) const = default;
};

constexpr Interval hull(Interval a, Interval b) {
  return {a.low < b.low ? a.low : b.low, a.high > b.high ? a.high : b.high, a.bounded && b.bounded};
}

/// Rounds towards minus infinity.
constexpr int floor_div(int a, int b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0); }

/// One spatial axis of a window.
struct AxisWindow {
  int kernel, stride, dilation, pad_before, pad_after;
};

enum class Axis : unsigned char { depth, height, width };

constexpr int along(Extent e, Axis axis) {
  return axis == Axis::depth ? e.depth : axis == Axis::height ? e.height : e.width;
}
constexpr AxisWindow along(const Window& w, Axis axis) {
  return {along(w.kernel, axis), along(w.stride, axis), along(w.dilation, axis), along(w.pad_before, axis),
          along(w.pad_after, axis)};
}

/// The defaults of an op: a pointwise function without multiplications, not differentiable, never in place.
/// A specialisation `OpRule<Op::x>` inherits them and replaces what differs:
///   name                                      as summaries print it
///   differentiate(Backward&, node, id, dy)    appends the gradient nodes (graph/differentiate.hpp)
///   macs(graph, node)                         multiply-accumulates for one sample
///   reach(node, axis, out)                    the input pixels that the output pixels `out` depend on
///   in_place                                  the input whose memory the output may take over, -1: none
struct OpDefaults {
  static constexpr int in_place = -1;
  static void differentiate(Backward&, const Node&, int, Value);  // not constexpr, so reaching it ends the compilation
  static constexpr std::int64_t macs(const auto&, const Node&) { return 0; }
  static constexpr Interval reach(const Node&, Axis, Interval out) { return out; }
};

template <Op>
struct OpRule;

/// Input pixels under a window at output pixels `out`.
constexpr Interval window_reach(const AxisWindow& w, Interval out) {
  return {out.low * w.stride - w.pad_before, out.high * w.stride - w.pad_before + span_of(w.kernel, w.dilation) - 1,
          out.bounded};
}

/// Input pixels whose window touches output pixels `out` of the adjoint.
constexpr Interval transposed_reach(const AxisWindow& w, Interval out) {
  return {-floor_div(-(out.low + w.pad_before - span_of(w.kernel, w.dilation) + 1), w.stride),
          floor_div(out.high + w.pad_before, w.stride), out.bounded};
}

namespace op {

constexpr const char* axis_name(Axis axis) {
  return axis == Axis::depth ? "depth" : axis == Axis::height ? "height" : "width";
}

inline constexpr Axis all_axes[] = {Axis::depth, Axis::height, Axis::width};

/// Fails unless a and b have equal spatial extents.
constexpr void require_equal_extents(Builder& b, Value x, Value y, const char* what) {
  for (const Axis axis : all_axes) {
    const int m = along(b.shape(x).extent(), axis);
    const int n = along(b.shape(y).extent(), axis);
    if (m != n)
      b.fail(RuleKind::extents_must_match, m, n,
             Sentence{} << what << " inputs differ in " << axis_name(axis) << ", " << m << " against " << n
                        << "; crop or resample one of them to the other",
             true);
  }
}

/// Fails unless a and b have equal channel counts.
constexpr void require_equal_channels(Builder& b, Value x, Value y, const char* what) {
  const int m = b.shape(x).channels;
  const int n = b.shape(y).channels;
  if (m != n)
    b.fail(RuleKind::channels_must_match, m, n,
           Sentence{} << what << " inputs differ in channels, " << m << " against " << n
                      << "; give both the same number of channels, with a 1x1 convolution for example",
           false);
}

/// Fails unless the dilated kernel fits the padded input.
constexpr void require_kernel_fits(Builder& b, Shape x, const Window& window) {
  for (const Axis axis : all_axes) {
    const AxisWindow w = along(window, axis);
    const int found = along(x.extent(), axis) + w.pad_before + w.pad_after;
    const int needed = span_of(w.kernel, w.dilation);
    if (needed > found)
      b.fail(RuleKind::kernel_must_fit, found, needed,
             Sentence{} << "the kernel spans " << needed << " pixels but the padded " << axis_name(axis) << " is "
                        << found << "; use a smaller kernel, less depth, more padding or a larger input",
             true);
  }
}

}  // namespace op
}  // namespace ulna
