// SPDX-License-Identifier: MIT
// Concatenation, slices of channels, cropping and padding. The memory plan turns most of these into views that cost
// nothing.
#pragma once

#include <span>

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// Channels of each value, side by side. More values than a node takes are a chain of nodes.
constexpr Value concat(Builder& b, std::span<const Value> parts) {
  Value joined = parts[0];
  for (std::size_t next = 1; next < parts.size();) {
    Node node{.op = Op::concat, .shape = b.shape(joined), .input = {joined.id, -1, -1, -1, -1, -1}};
    for (std::size_t i = 1; i < max_inputs && next < parts.size(); ++i, ++next) {
      require_equal_extents(b, joined, parts[next], "concat:");
      node.input[i] = parts[next].id;
      node.shape.channels += b.shape(parts[next]).channels;
    }
    joined = b.append(node);
  }
  return joined;
}

/// Channels of x, then of y: {Cx + Cy, ...}.
constexpr Value concat(Builder& b, Value x, Value y) {
  const Value parts[] = {x, y};
  return concat(b, parts);
}

/// Channels [begin, begin + count) of x.
constexpr Value slice(Builder& b, Value x, int begin, int count) {
  Node node{.op = Op::slice, .shape = shape_of(count, b.shape(x).extent()), .input = {x.id, -1, -1, -1, -1, -1}};
  node.begin = begin;
  return b.append(node);
}

/// The central part of x; the odd pixel is cut from the end. Offsets are kept in window.pad_before.
constexpr Value crop(Builder& b, Value x, Extent to) {
  const Shape in = b.shape(x);
  if (in.extent() == to) return x;
  for (const Axis axis : all_axes)
    if (along(in.extent(), axis) < along(to, axis))
      b.fail(RuleKind::extents_must_match, along(in.extent(), axis), along(to, axis),
             Sentence{} << "crop: " << axis_name(axis) << " " << along(in.extent(), axis) << " is smaller than "
                        << along(to, axis) << "; crop the larger input instead",
             true);
  Node node{.op = Op::crop, .shape = shape_of(in.channels, to), .input = {x.id, -1, -1, -1, -1, -1}};
  node.window.pad_before = {(in.depth - to.depth) / 2, (in.height - to.height) / 2, (in.width - to.width) / 2};
  return b.append(node);
}

/// Zeros or the mirrored image around x, as much as the window's paddings say.
constexpr Value pad(Builder& b, Value x, Extent before, Extent after, Border border) {
  if (before == Extent{0, 0, 0} && after == before) return x;
  const Shape in = b.shape(x);
  for (const Axis axis : all_axes) {
    const int widest = along(before, axis) > along(after, axis) ? along(before, axis) : along(after, axis);
    if (border == Border::reflect && widest >= along(in.extent(), axis))
      b.fail(RuleKind::kernel_must_fit, along(in.extent(), axis), widest + 1,
             Sentence{} << "mirroring " << widest << " pixels needs a " << axis_name(axis) << " of at least "
                        << widest + 1 << ", found " << along(in.extent(), axis)
                        << "; use less padding, less depth or a larger input",
             true);
  }
  Node node{.op = Op::pad,
            .shape = {in.channels, in.depth + before.depth + after.depth, in.height + before.height + after.height,
                      in.width + before.width + after.width},
            .input = {x.id, -1, -1, -1, -1, -1}};
  node.window.pad_before = before;
  node.window.pad_after = after;
  node.window.border = border;
  return b.append(node);
}

}  // namespace op

template <>
struct OpRule<Op::concat> : OpDefaults {
  static constexpr const char* name = "concat";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    int begin = 0;
    for (int i = 0; i < n.inputs(); ++i) {
      const int x = n.input[static_cast<std::size_t>(i)];
      const Shape s = d.b.graph.nodes[x].shape;
      if (d.wanted(x)) {
        Node g{.op = Op::slice, .shape = s, .input = {dy.id, -1, -1, -1, -1, -1}};
        g.begin = begin;
        d.contribute(x, d.append(g));
      }
      begin += s.channels;
    }
  }
};

/// Always a view: no kernel runs.
template <>
struct OpRule<Op::slice> : OpDefaults {
  static constexpr const char* name = "slice";
};

template <>
struct OpRule<Op::crop> : OpDefaults {
  static constexpr const char* name = "crop";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    const Shape in = d.b.graph.nodes[n.input[0]].shape;
    const Extent before = n.window.pad_before;
    Node g{.op = Op::pad, .shape = in, .input = {dy.id, -1, -1, -1, -1, -1}};
    g.window.pad_before = before;
    g.window.pad_after = {in.depth - n.shape.depth - before.depth, in.height - n.shape.height - before.height,
                          in.width - n.shape.width - before.width};
    d.contribute(n.input[0], d.append(g));
  }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    const int shift = along(n.window.pad_before, axis);
    return {out.low + shift, out.high + shift, out.bounded};
  }
};

/// y[p] = x[p - pad_before]; outside: 0, or for Border::reflect x at the index mirrored at the edge pixel (-1 -> 1, n
/// -> n - 2).
template <>
struct OpRule<Op::pad> : OpDefaults {
  static constexpr const char* name = "pad";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    Node g{.op = Op::pad_gradient, .shape = d.b.graph.nodes[n.input[0]].shape, .input = {dy.id, -1, -1, -1, -1, -1}};
    g.window = n.window;
    d.contribute(n.input[0], d.append(g));
  }
  static constexpr Interval reach(const Node& n, Axis axis, Interval out) {
    // a mirrored pixel lies as far inside as the padded one lay outside, so it never widens the reach
    const int shift = along(n.window.pad_before, axis);
    return {out.low - shift, out.high - shift, out.bounded};
  }
};

/// Input dy. The adjoint of pad: dx[q] = sum of dy over every padded pixel that reads q.
template <>
struct OpRule<Op::pad_gradient> : OpDefaults {
  static constexpr const char* name = "pad_gradient";
};

}  // namespace ulna
