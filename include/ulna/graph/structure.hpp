// SPDX-License-Identifier: MIT
// What a network is, as a number that weight files carry: see weights/model_file.hpp.
#pragma once

#include <bit>
#include <cstdint>

#include "ulna/graph/graph.hpp"

namespace ulna {

/// A hash of everything that decides which numbers a graph has and what they mean: ops, channels, windows. It is taken
/// of a network as it was lowered, so that fusing more of it later leaves files valid. Extents of the image do not
/// change it, so crops and zero borders, which fit maps of different extents to each other, do not count.
constexpr std::uint64_t structure_of(const auto& graph) {
  std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a, eight bytes at a time
  const auto mix = [&hash](std::int64_t value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001B3u;
    hash ^= hash >> 32;
  };
  FixedVector<int, node_capacity> number{};  // of each node, crops and borders having that of what they fit
  int next = 0;
  const auto number_of = [&number](int id) { return id < 0 ? id : number[id]; };
  for (const Node& n : graph.nodes) {
    if (n.op == Op::crop || (n.op == Op::pad && n.window.border == Border::zero)) {
      number.push_back(number_of(n.input[0]));
      continue;
    }
    number.push_back(next++);
    mix(static_cast<std::int64_t>(n.op));
    mix(n.shape.channels);
    mix(static_cast<std::int64_t>(n.activation));
    if (n.activation == Activation::leaky_relu) mix(std::bit_cast<std::int32_t>(n.slope));
    mix(n.norm.groups);
    mix(std::bit_cast<std::int32_t>(n.norm.epsilon));
    mix(n.align_corners);
    mix(n.heads);
    if (n.weight_order != WeightOrder::rows) mix(static_cast<std::int64_t>(n.weight_order));
    mix(static_cast<std::int64_t>(n.window.border));
    for (const int x : n.input) mix(number_of(x));
    for (const Extent& e :
         {n.window.kernel, n.window.stride, n.window.dilation, n.window.pad_before, n.window.pad_after})
      mix(e.depth * 1'000'000LL + e.height * 1'000LL + e.width);
  }
  return hash;
}

}  // namespace ulna
