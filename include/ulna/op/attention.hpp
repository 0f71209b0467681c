// SPDX-License-Identifier: MIT
// Multi-head scaled dot-product attention (Vaswani et al. 2017). Tokens are the pixels of a map.
//
// Head h owns channels [h C / heads, (h + 1) C / heads) of q, k, v and y. With d = C / heads, per sample and head:
//   y[i] = sum_j P[i][j] v[j],  P[i] = softmax over j of q[i] . k[j] / sqrt(d)
// The kernels hold a few rows of P at a time: the full matrix of scores is never stored.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// q, k, v {C, ...} of one shape; `heads` divides C.
constexpr Value attention(Builder& b, Value q, Value k, Value v, int heads) {
  const Shape s = b.shape(q);
  for (const Value other : {k, v}) {
    require_equal_channels(b, q, other, "attention:");
    require_equal_extents(b, q, other, "attention:");
  }
  if (heads < 1 || s.channels % heads != 0) {
    b.fail(RuleKind::channels_must_divide, s.channels, heads < 1 ? 1 : heads,
           Sentence{} << "attention: " << heads << " heads do not divide " << s.channels
                      << " channels; choose a number of heads that divides the channels",
           false);
    heads = 1;
  }
  Node node{.op = Op::attention, .shape = s, .input = {q.id, k.id, v.id, -1, -1, -1}};
  node.heads = heads;
  return b.append(node);
}

}  // namespace op

template <>
struct OpRule<Op::attention> : OpDefaults {
  static constexpr const char* name = "attention";
  static constexpr std::int64_t macs(const auto&, const Node& n) { return 2 * n.shape.size() * n.shape.pixels(); }
  static constexpr Interval reach(const Node&, Axis, Interval out) { return {out.low, out.high, false}; }

  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    const int channels = n.shape.channels;
    Node g{.op = Op::attention_gradient,
           .shape = shape_of(3 * channels, n.shape.extent()),
           .input = {dy.id, n.input[0], n.input[1], n.input[2], -1, -1}};
    g.heads = n.heads;
    const Value all = d.append(g);
    for (int i = 0; i < 3; ++i) {
      const int x = n.input[static_cast<std::size_t>(i)];
      if (!d.wanted(x)) continue;
      Node part{.op = Op::slice, .shape = n.shape, .input = {all.id, -1, -1, -1, -1, -1}};
      part.begin = i * channels;
      d.contribute(x, d.append(part));
    }
  }
};

/// Inputs dy, q, k, v. Output {3 C}: dq, dk, dv side by side. P is recomputed; with dP[i][j] = dy[i] . v[j] and
///   dS[i][j] = P[i][j] (dP[i][j] - sum_m P[i][m] dP[i][m]) / sqrt(d):
///   dq[i] = sum_j dS[i][j] k[j],  dk[j] = sum_i dS[i][j] q[i],  dv[j] = sum_i P[i][j] dy[i]
template <>
struct OpRule<Op::attention_gradient> : OpDefaults {
  static constexpr const char* name = "attention_gradient";
  static constexpr std::int64_t macs(const auto&, const Node& n) { return 5 * n.shape.size() / 3 * n.shape.pixels(); }
};

}  // namespace ulna
