// SPDX-License-Identifier: MIT
// Softmax, dropout, sum, product and multiples.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/activation.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// Over channels, at each pixel: y_c = exp(x_c - max x) / sum_k exp(x_k - max x).
constexpr Value softmax(Builder& b, Value x) {
  return b.append({.op = Op::softmax, .shape = b.shape(x), .input = {x.id, -1, -1, -1, -1, -1}});
}

/// y = x / (1 - rate) with probability 1 - rate, else 0; the identity (no node) at inference.
/// The draw of element e of sample n is a function of (seed, step, stream, n, e), so backward repeats it: with
/// bits = philox({e / 4, n, stream, low 32 bits of step}, seed)[e % 4], e counting (pixel, channel), the element is
/// dropped if (bits >> 8) 2^-24 < rate.
constexpr Value dropout(Builder& b, Value x, float rate) {
  if (!b.training() || rate <= 0.0f) return x;
  int stream = 0;
  for (const Node& n : b.graph.nodes) stream += n.op == Op::dropout ? 1 : 0;
  Node node{.op = Op::dropout, .shape = b.shape(x), .input = {x.id, -1, -1, -1, -1, -1}};
  node.rate = rate;
  node.begin = stream;
  return b.append(node);
}

/// act( x + y ).
constexpr Value add(Builder& b, Value x, Value y) {
  require_equal_channels(b, x, y, "add:");
  require_equal_extents(b, x, y, "add:");
  return b.append({.op = Op::add, .shape = b.shape(x), .input = {x.id, y.id, -1, -1, -1, -1}});
}

/// x y, element by element. y may have one channel, which then scales every channel of x (attention gates).
constexpr Value multiply(Builder& b, Value x, Value y) {
  if (b.shape(y).channels != 1) require_equal_channels(b, x, y, "multiply:");
  require_equal_extents(b, x, y, "multiply:");
  return b.append({.op = Op::multiply, .shape = b.shape(x), .input = {x.id, y.id, -1, -1, -1, -1}});
}

/// factor x.
constexpr Value scale(Builder& b, Value x, float factor) {
  Node node{.op = Op::scale, .shape = b.shape(x), .input = {x.id, -1, -1, -1, -1, -1}};
  node.rate = factor;
  return b.append(node);
}

}  // namespace op

template <>
struct OpRule<Op::softmax> : OpDefaults {
  static constexpr const char* name = "softmax";
  static constexpr int in_place = 0;
  static constexpr void differentiate(Backward& d, const Node& n, int id, Value dy) {
    d.contribute(n.input[0],
                 d.append({.op = Op::softmax_gradient, .shape = n.shape, .input = {dy.id, id, -1, -1, -1, -1}}));
  }
};

/// Inputs dy, y. dx_c = y_c (dy_c - sum_k dy_k y_k).
template <>
struct OpRule<Op::softmax_gradient> : OpDefaults {
  static constexpr const char* name = "softmax_gradient";
  static constexpr int in_place = 0;
};

template <>
struct OpRule<Op::dropout> : OpDefaults {
  static constexpr const char* name = "dropout";
  static constexpr int in_place = 0;
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    Node g{.op = Op::dropout, .shape = n.shape, .input = {dy.id, -1, -1, -1, -1, -1}};
    g.rate = n.rate;
    g.begin = n.begin;
    d.contribute(n.input[0], d.append(g));
  }
};

template <>
struct OpRule<Op::add> : OpDefaults {
  static constexpr const char* name = "add";
  static constexpr int in_place = 0;
  static constexpr void differentiate(Backward& d, const Node& n, int id, Value dy) {
    dy = op::activation_backward(d, n, id, dy);
    for (int i = 0; i < 2; ++i)
      if (d.wanted(n.input[static_cast<std::size_t>(i)])) d.contribute(n.input[static_cast<std::size_t>(i)], dy);
  }
};

template <>
struct OpRule<Op::multiply> : OpDefaults {
  static constexpr const char* name = "multiply";
  static constexpr int in_place = 0;
  static constexpr std::int64_t macs(const auto&, const Node& n) { return n.shape.size(); }
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (!d.wanted(n.input[i])) continue;
      const Shape s = d.b.graph.nodes[n.input[i]].shape;
      const Op kind = s == n.shape ? Op::multiply : Op::channel_dot;
      d.contribute(n.input[i], d.append({.op = kind, .shape = s, .input = {dy.id, n.input[1 - i], -1, -1, -1, -1}}));
    }
  }
};

template <>
struct OpRule<Op::scale> : OpDefaults {
  static constexpr const char* name = "scale";
  static constexpr int in_place = 0;
  static constexpr std::int64_t macs(const auto&, const Node& n) { return n.shape.size(); }
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    Node g{.op = Op::scale, .shape = n.shape, .input = {dy.id, -1, -1, -1, -1, -1}};
    g.rate = n.rate;
    d.contribute(n.input[0], d.append(g));
  }
};

/// Inputs a, b of equal shape: y[p] = sum_c a[p][c] b[p][c], one channel. The gradient of a factor with one channel.
template <>
struct OpRule<Op::channel_dot> : OpDefaults {
  static constexpr const char* name = "channel_dot";
  static constexpr std::int64_t macs(const auto& graph, const Node& n) { return graph.input(n, 0).shape.size(); }
};

}  // namespace ulna
