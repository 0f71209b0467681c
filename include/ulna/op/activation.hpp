// SPDX-License-Identifier: MIT
// Pointwise non-linearities, alone or fused into the op before them. Each gradient is a function of the output alone.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// relu max(x, 0); leaky_relu x < 0 ? slope x : x; sigmoid 1 / (1 + exp(-x)).
constexpr Value activation(Builder& b, Value x, Activation kind, float slope = 0.01f) {
  Node node{.op = Op::activation, .shape = b.shape(x), .input = {x.id, -1, -1, -1, -1, -1}};
  node.activation = kind;
  node.slope = slope;
  return b.append(node);
}

/// The gradient before node `n`'s activation, given the one after it.
constexpr Value activation_backward(Backward& d, const Node& n, int id, Value dy) {
  if (n.activation == Activation::none) return dy;
  Node g{.op = Op::activation_gradient, .shape = n.shape, .input = {dy.id, id, -1, -1, -1, -1}};
  g.activation = n.activation;
  g.slope = n.slope;
  return d.append(g);
}

}  // namespace op

template <>
struct OpRule<Op::activation> : OpDefaults {
  static constexpr const char* name = "activation";
  static constexpr int in_place = 0;
  static constexpr void differentiate(Backward& d, const Node& n, int id, Value dy) {
    d.contribute(n.input[0], op::activation_backward(d, n, id, dy));
  }
};

/// Inputs dy, y. relu y > 0 ? dy : 0; leaky_relu y > 0 ? dy : slope dy; sigmoid dy y (1 - y).
template <>
struct OpRule<Op::activation_gradient> : OpDefaults {
  static constexpr const char* name = "activation_gradient";
  static constexpr int in_place = 0;
};

}  // namespace ulna
