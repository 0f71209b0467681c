// SPDX-License-Identifier: MIT
// Layer normalisation: each pixel (token) by the statistics of its own channels (Ba, Kiros, Hinton 2016).
//
//   y[p][c] = gamma[c] xh[p][c] + beta[c],  xh[p][c] = (x[p][c] - mean_p) / sqrt(variance_p + epsilon)
// with the mean and the biased variance over the C channels of pixel p. Statistics are recomputed where they are
// needed: they cost less than a pass over memory.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// x {C, ...}; gamma and beta {C}.
constexpr Value layer_norm(Builder& b, Value x, Value gamma, Value beta, float epsilon) {
  Node node{.op = Op::layer_norm, .shape = b.shape(x), .input = {x.id, gamma.id, beta.id, -1, -1, -1}};
  node.norm.epsilon = epsilon;
  return b.append(node);
}

}  // namespace op

template <>
struct OpRule<Op::layer_norm> : OpDefaults {
  static constexpr const char* name = "layer_norm";
  static constexpr int in_place = 0;
  static constexpr std::int64_t macs(const auto&, const Node& n) { return n.shape.size(); }

  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    const int x = n.input[0];
    const int gamma = n.input[1];
    const int beta = n.input[2];
    const int channels = n.shape.channels;
    if (d.wanted(gamma) || d.wanted(beta)) {
      Node sums{.op = Op::layer_norm_sums, .shape = {2 * channels}, .input = {dy.id, x, -1, -1, -1, -1}};
      sums.norm = n.norm;
      const Value s = d.append(sums);
      for (const bool of_gamma : {false, true}) {
        const int p = of_gamma ? gamma : beta;
        if (!d.wanted(p)) continue;
        Node g{.op = Op::norm_parameter_gradient, .shape = {channels}, .input = {s.id, -1, -1, -1, -1, -1}};
        g.begin = of_gamma ? channels : 0;
        d.contribute_parameter(p, g);
      }
    }
    if (d.wanted(x)) {
      Node g{.op = Op::layer_norm_gradient, .shape = n.shape, .input = {dy.id, x, gamma, -1, -1, -1}};
      g.norm = n.norm;
      d.contribute(x, d.append(g));
    }
  }
};

/// Inputs dy, x: record {2 C} of each sample = sum over pixels of dy, then of dy xh.
template <>
struct OpRule<Op::layer_norm_sums> : OpDefaults {
  static constexpr const char* name = "layer_norm_sums";
};

/// Inputs dy, x, gamma. With g = gamma dy, all means over the channels of the pixel:
///   dx = (g - mean(g) - xh mean(g xh)) / sqrt(variance + epsilon)
template <>
struct OpRule<Op::layer_norm_gradient> : OpDefaults {
  static constexpr const char* name = "layer_norm_gradient";
  static constexpr int in_place = 0;
  static constexpr std::int64_t macs(const auto&, const Node& n) { return 3 * n.shape.size(); }
};

}  // namespace ulna
