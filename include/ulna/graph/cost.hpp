// SPDX-License-Identifier: MIT
// What each node costs, before anything runs: multiply-accumulates, bytes to and from memory, and the time that a
// machine needs at least (Williams, Waterman and Patterson 2009, "Roofline").
#pragma once

#include <cstdint>

#include "ulna/graph/plan.hpp"

namespace ulna {

/// What bounds the speed of a computation.
struct Machine {
  double flops = 0.0;             ///< floating-point operations a second; a multiply-accumulate is two
  double bytes_per_second = 0.0;  ///< to and from memory, together

  constexpr bool operator==(const Machine&) const = default;
};

/// Bytes of an element of activations, and of everything else: a backend's Element and Master.
struct ElementBytes {
  int activation = 4;
  int master = 4;
};

/// What a node costs for a batch.
struct Cost {
  std::int64_t macs = 0;  ///< multiply-accumulates by the op's definition, whatever algorithm the kernel uses
  std::int64_t bytes_read = 0;
  std::int64_t bytes_written = 0;

  constexpr std::int64_t bytes() const { return bytes_read + bytes_written; }
  constexpr bool operator==(const Cost&) const = default;
};

/// The least time: arithmetic and memory each at full speed, at the same time.
constexpr double roofline_seconds(const Cost& cost, const Machine& machine) {
  const double arithmetic = 2.0 * static_cast<double>(cost.macs) / machine.flops;
  const double memory = static_cast<double>(cost.bytes()) / machine.bytes_per_second;
  return arithmetic > memory ? arithmetic : memory;
}

/// Node `id` of a compiled graph for a batch. Every input is read once and every output written once, however often a
/// kernel goes over them; values are not expected to be in a cache. Values that are views already cost nothing, nor
/// does what another node computes: that node writes it.
constexpr Cost cost_of(const auto& compiled, int id, int batch, ElementBytes bytes = {}) {
  const auto& graph = compiled.graph;
  const Node& n = graph.nodes[id];
  const auto size = [&](int x) {
    const Node& of = graph.nodes[x];
    return of.shape.size() * (of.per_sample ? batch : 1) * (is_activation(graph, x) ? bytes.activation : bytes.master);
  };
  const auto in_place = [&](int x, int first_channel) {
    const Place& part = compiled.plan.places[x];
    const Place& whole = compiled.plan.places[id];
    return part.storage == whole.storage && part.offset == whole.offset && part.pixel_stride == whole.pixel_stride &&
           part.channel_offset == whole.channel_offset + first_channel;
  };
  if (n.op == Op::max_pool && n.pooled) return {};
  Cost cost{.macs = batch * with_rule(n.op, [&](auto rule) { return decltype(rule)::macs(graph, n); })};
  cost.bytes_written = n.op == Op::concat ? 0 : size(id);
  if (n.accumulate) cost.bytes_read += size(id);
  if (const int pool = pool_of(graph, id); pool >= 0) cost.bytes_written += size(pool);
  int first_channel = 0;
  for (int k = 0; k < n.inputs(); ++k) {
    const int x = n.input[static_cast<std::size_t>(k)];
    if (x < 0) continue;
    bool met = false;
    for (int j = 0; j < k; ++j) met = met || n.input[static_cast<std::size_t>(j)] == x;
    if (n.op == Op::concat) {  // copies what does not lie there already
      const bool copied = !in_place(x, first_channel);
      if (copied) cost.bytes_written += size(x);
      if (copied && !met) cost.bytes_read += size(x);
      first_channel += graph.nodes[x].shape.channels;
    } else if (!met) {
      cost.bytes_read += n.op == Op::crop ? size(id) : size(x);
    }
    if (n.op == Op::update_running && k > 0) cost.bytes_written += size(x);
  }
  return cost;
}

}  // namespace ulna
