// SPDX-License-Identifier: MIT
// Weight standardisation (Qiao et al. 2019): a convolution's weight is normalised before it is used.
//
//   w'[t][c][k] = (w[t][c][k] - mean_k) / sqrt(variance_k + epsilon)
// with the mean and the biased variance of output channel k over all taps t and input channels c.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// A weight from Builder::weight -> the standardised weight. At inference it is evaluated when parameters change.
constexpr Value standardize_weight(Builder& b, Value weight, float epsilon) {
  Node node{.op = Op::standardize_weight, .shape = b.shape(weight), .input = {weight.id, -1, -1, -1, -1, -1}};
  node.norm.epsilon = epsilon;
  node.per_sample = false;
  node.once = !b.training();
  return b.append(node);
}

}  // namespace op

template <>
struct OpRule<Op::standardize_weight> : OpDefaults {
  static constexpr const char* name = "standardize_weight";
  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    if (!d.wanted(n.input[0])) return;
    Node g{.op = Op::standardize_weight_gradient, .shape = n.shape, .input = {dy.id, n.input[0], -1, -1, -1, -1}};
    g.norm = n.norm;
    d.contribute_parameter(n.input[0], g);
  }
};

/// Inputs dw', w. With wh the standardised weight and means over the taps and input channels of each output channel:
///   dw = (dw' - mean(dw') - wh mean(dw' wh)) / sqrt(variance + epsilon)
template <>
struct OpRule<Op::standardize_weight_gradient> : OpDefaults {
  static constexpr const char* name = "standardize_weight_gradient";
};

}  // namespace ulna
