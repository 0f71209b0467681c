// SPDX-License-Identifier: MIT
// What a graph costs, and how far a pixel sees.
#pragma once

#include <numeric>

#include "ulna/graph/graph.hpp"
#include "ulna/op/ops.hpp"

namespace ulna {

/// Multiply-accumulates of one sample.
constexpr std::int64_t macs_of(const auto& graph) {
  std::int64_t macs = 0;
  for (const Node& n : graph.nodes) macs += with_rule(n.op, [&](auto rule) { return decltype(rule)::macs(graph, n); });
  return macs;
}

/// What the bits of a node's output depend on where each output is computed from its window alone. A backend whose
/// kernels compute outputs in blocks states a `Footprint` of its own.
struct WindowFootprint {
  /// The blocks of output start at multiples of this, counted from the corner of the map.
  static constexpr int grid(const Node&, int /*in_channels*/) { return 1; }
  /// The input pixels that the output pixels `out` depend on.
  static constexpr Interval reach(const Node& n, int /*in_channels*/, Axis axis, Interval out) {
    return with_rule(n.op, [&](auto rule) { return decltype(rule)::reach(n, axis, out); });
  }
};

/// The input pixels from one tile that gives the same bits to the next: the least common multiple, over all nodes, of
/// the strides between the input and the node times the node's grid.
template <class Footprint = WindowFootprint>
constexpr int alignment_of(const auto& graph) {
  FixedVector<int, node_capacity> scale{};
  int alignment = 1;
  for (const Node& n : graph.nodes) {
    int s = n.input[0] >= 0 ? scale[n.input[0]] : 1;
    if (n.op == Op::convolution || n.op == Op::max_pool || n.op == Op::average_pool) s *= n.window.stride.height;
    if (n.op == Op::transposed_convolution || n.op == Op::upsample_nearest || n.op == Op::upsample_bilinear)
      s /= n.window.stride.height;
    scale.push_back(s);
    const int grid = n.input[0] >= 0 ? Footprint::grid(n, graph.nodes[n.input[0]].shape.channels) : 1;
    alignment = std::lcm(alignment, (s > 1 ? s : 1) * grid);
  }
  return alignment;
}

/// The input pixels along an axis that the output pixels `out` depend on.
template <class Footprint = WindowFootprint>
constexpr Interval dependence(const auto& graph, Axis axis, Interval out) {
  FixedVector<Interval, node_capacity> need{};
  FixedVector<bool, node_capacity> reached{};
  for (int i = 0; i < graph.nodes.size(); ++i) {
    need.push_back({});
    reached.push_back(i == graph.output);
  }
  need[graph.output] = out;
  for (int i = graph.output; i >= 0; --i) {
    const Node& n = graph.nodes[i];
    if (!reached[i] || is_leaf(n.op) || n.once) continue;
    const int channels = n.input[0] >= 0 ? graph.nodes[n.input[0]].shape.channels : 0;
    const Interval in = Footprint::reach(n, channels, axis, need[i]);
    for (int k = 0; k < n.inputs(); ++k) {
      const int x = n.input[static_cast<std::size_t>(k)];
      if (x < 0) continue;
      const bool residual = n.residual != ResidualSum::none && k == residual_input;
      const Interval of_input = residual ? need[i] : in;  // pixel by pixel
      need[x] = reached[x] ? hull(need[x], of_input) : of_input;
      reached[x] = true;
    }
  }
  return need[graph.image];
}

/// Pixels that a tile of the input must overlap its neighbours by, on each side, so that the pixels inside are exact.
struct Halo {
  int pixels = 0;
  bool bounded = true;  ///< false: no halo makes tiles exact (statistics of the whole image, attention)
};

/// For tiles that start at multiples of `alignment_of<Footprint>(graph)`. With valid convolutions: the border that the
/// network eats.
template <class Footprint = WindowFootprint>
constexpr Halo halo_of(const auto& graph) {
  Halo halo;
  for (const Axis axis : {Axis::height, Axis::width}) {
    const int extent = along(graph.nodes[graph.image].shape.extent(), axis);
    const int out = along(graph.nodes[graph.output].shape.extent(), axis);
    const Interval in = dependence<Footprint>(graph, axis, {0, out - 1, true});
    const int border = (extent - out) / 2;
    const int before = border - in.low;
    const int after = in.high - (out - 1) - border;
    const int wider = before > after ? before : after;
    if (wider > halo.pixels) halo.pixels = wider;
    halo.bounded = halo.bounded && in.bounded;
  }
  return halo;
}

/// The radius of the receptive field: the farthest input pixel, along an axis, that any output pixel depends on.
constexpr int receptive_radius(const auto& graph, int alignment) {
  const Shape in = graph.nodes[graph.image].shape;
  const Shape out = graph.nodes[graph.output].shape;
  const int border = (in.height - out.height) / 2;
  int radius = 0;
  for (int phase = 0; phase < alignment; ++phase) {
    const Interval seen = dependence(graph, Axis::height, {phase, phase, true});
    const int before = phase + border - seen.low;
    const int after = seen.high - phase - border;
    if (before > radius) radius = before;
    if (after > radius) radius = after;
  }
  return radius;
}

}  // namespace ulna
