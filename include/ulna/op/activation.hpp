// SPDX-License-Identifier: MIT
// Pointwise non-linearities, alone or fused into the op before them. Each gradient is a function of the output alone,
// but for GELU, which is never fused: it is not monotonic, so its gradient reads its input.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// relu max(x, 0); leaky_relu x < 0 ? slope x : x; sigmoid 1 / (1 + exp(-x)); gelu x Phi(x), with
/// Phi(x) = (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel 2016, the exact form).
constexpr Value activation(Builder& b, Value x, Activation kind, float slope = 0.01f) {
  Node node{.op = Op::activation, .shape = b.shape(x), .input = {x.id, -1, -1, -1, -1, -1}};
  node.activation = kind;
  node.slope = slope;
  return b.append(node);
}

/// What the gradient of node `n`'s activation is a function of. Where only dropout reads the output of a ReLU, plain or
/// leaky, dropout's own output serves as well, and the other need not be kept: where nothing was dropped it has the
/// same sign, and where something was dropped the gradient is 0 in any case.
constexpr int activation_witness(const Backward& d, const Node& n, int id) {
  if (n.activation == Activation::gelu) return n.input[0];
  const bool sign_is_enough = n.activation == Activation::relu || n.activation == Activation::leaky_relu;
  const int reader = d.only_reader(id);
  return sign_is_enough && reader >= 0 && d.b.graph.nodes[reader].op == Op::dropout ? reader : id;
}

/// The gradient before node `n`'s activation, given the one after it.
constexpr Value activation_backward(Backward& d, const Node& n, int id, Value dy) {
  if (n.activation == Activation::none) return dy;
  const int known = activation_witness(d, n, id);
  Node g{.op = Op::activation_gradient, .shape = n.shape, .input = {dy.id, known, -1, -1, -1, -1}};
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
/// Inputs dy, x for gelu: dy (Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)).
template <>
struct OpRule<Op::activation_gradient> : OpDefaults {
  static constexpr const char* name = "activation_gradient";
  static constexpr int in_place = 0;
};

}  // namespace ulna
