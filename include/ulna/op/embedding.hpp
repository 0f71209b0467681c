// SPDX-License-Identifier: MIT
// Position embeddings: a learned vector for every pixel of a map, the same for every sample.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// y[n][p][c] = x[n][p][c] + table[p][c], x {C, D, H, W}, table from Builder::embedding(extent of x, C).
constexpr Value add_embedding(Builder& b, Value x, Value table) {
  const Shape s = b.shape(x);
  const Shape t = b.shape(table);
  const auto positions = static_cast<int>(t.pixels());
  const auto pixels = static_cast<int>(s.pixels());
  if (positions != pixels)
    b.fail(RuleKind::extents_must_match, positions, pixels,
           Sentence{} << "the position embedding holds " << positions << " positions, the map of " << s.height << " x "
                      << s.width << " has " << pixels << "; make the embedding from the map's extent",
           false);
  if (t.channels != s.channels)
    b.fail(RuleKind::channels_must_match, t.channels, s.channels,
           Sentence{} << "the position embedding has " << t.channels << " channels, the map has " << s.channels
                      << "; make the embedding from the map's shape",
           false);
  return b.append({.op = Op::add_embedding, .shape = s, .input = {x.id, table.id, -1, -1, -1, -1}});
}

}  // namespace op

template <>
struct OpRule<Op::add_embedding> : OpDefaults {
  static constexpr const char* name = "add_embedding";
  static constexpr int in_place = 0;
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    const int table = n.input[1];
    if (d.wanted(table))
      d.contribute_parameter(
          table,
          {.op = Op::embedding_gradient, .shape = d.b.graph.nodes[table].shape, .input = {dy.id, -1, -1, -1, -1, -1}});
    if (d.wanted(n.input[0])) d.contribute(n.input[0], dy);
  }
  /// Positions count from the corner of the whole map, so a tile cannot reproduce them.
  static constexpr Interval reach(const Node&, Axis, Interval out) { return {out.low, out.high, false}; }
};

/// Input dy. g[p][c] = sum over samples of dy[n][p][c].
template <>
struct OpRule<Op::embedding_gradient> : OpDefaults {
  static constexpr const char* name = "embedding_gradient";
};

}  // namespace ulna
