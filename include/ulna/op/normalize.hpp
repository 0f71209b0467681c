// SPDX-License-Identifier: MIT
// Batch, instance and group normalisation: ops told apart by which pixels share statistics (NormAttributes).
//
// moments    record {2 G}: mean of each of G groups, then their biased variances; one record a sample, or a batch
// normalize  y = act( gamma (x - mean) / sqrt(variance + epsilon) + beta ), gamma = 1 and beta = 0 where absent
//
// Group g holds channels [g C / G, (g + 1) C / G). Variances must not cancel: sums are in double, or shifted.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// Statistics of x {C, ...} -> record {2 groups}.
constexpr Value moments(Builder& b, Value x, const NormAttributes& norm) {
  const int channels = b.shape(x).channels;
  if (norm.groups < 1 || channels % norm.groups != 0)
    b.fail(RuleKind::channels_must_divide, channels, norm.groups < 1 ? 1 : norm.groups,
           Sentence{} << channels << " channels cannot be split into " << norm.groups
                      << " equal groups; choose a number of groups that divides the channels",
           false);
  Node node{.op = Op::moments, .shape = {2 * norm.groups}, .input = {x.id, -1, -1, -1, -1, -1}};
  node.norm = norm;
  node.per_sample = !norm.over_batch;
  return b.append(node);
}

/// x normalised by the moments; gamma and beta {C} both or neither.
constexpr Value normalize(Builder& b, Value x, Value moments, Value gamma, Value beta) {
  Node node{.op = Op::normalize, .shape = b.shape(x), .input = {x.id, moments.id, gamma.id, beta.id, -1, -1}};
  node.norm = b.graph.node(moments).norm;
  return b.append(node);
}

/// Blends the batch's moments into running statistics {C}, in place:
///   mean += momentum (m - mean); variance += momentum (v n / (n - 1) - variance), n = batch x pixels of x.
constexpr void update_running(Builder& b, Value x, Value moments, Value mean, Value variance) {
  Node node{.op = Op::update_running, .shape = {0}, .input = {moments.id, mean.id, variance.id, -1, -1, -1}};
  node.norm = b.graph.node(moments).norm;
  node.begin = static_cast<int>(b.shape(x).pixels());
  node.per_sample = false;
  b.append(node);
}

/// Running statistics as one affine map a channel: record {2 C} = scale, then shift, with
///   scale = gamma / sqrt(variance + epsilon), shift = beta - mean scale. Evaluated when parameters change.
constexpr Value running_affine(Builder& b, Value mean, Value variance, Value gamma, Value beta,
                               const NormAttributes& norm) {
  Node node{.op = Op::running_affine,
            .shape = {2 * b.shape(mean).channels},
            .input = {mean.id, variance.id, gamma.id, beta.id, -1, -1}};
  node.norm = norm;
  node.per_sample = false;
  node.once = true;
  return b.append(node);
}

/// y = act( x scale + shift ), record {2 C} as running_affine makes it.
constexpr Value affine(Builder& b, Value x, Value scale_shift) {
  return b.append({.op = Op::affine, .shape = b.shape(x), .input = {x.id, scale_shift.id, -1, -1, -1, -1}});
}

}  // namespace op

template <>
struct OpRule<Op::moments> : OpDefaults {
  static constexpr const char* name = "moments";
  static constexpr void differentiate(Backward&, const Node&, int, Value) {}  // part of normalize's rule
  static constexpr Interval reach(const Node&, Axis, Interval out) { return {out.low, out.high, false}; }
};

template <>
struct OpRule<Op::normalize> : OpDefaults {
  static constexpr const char* name = "normalize";
  static constexpr int in_place = 0;
  static constexpr std::int64_t macs(const auto&, const Node& n) { return n.shape.size(); }

  static constexpr void differentiate(Backward& d, const Node& n, int, Value dy) {
    const int x = n.input[0];
    const int gamma = n.input[2];
    const int beta = n.input[3];
    const int channels = n.shape.channels;
    Node sums{
        .op = Op::normalize_gradient_sums, .shape = {2 * channels}, .input = {dy.id, x, n.input[1], gamma, beta, -1}};
    copy_attributes(sums, n);
    sums.per_sample = !n.norm.over_batch;
    const Value s = d.append(sums);
    for (const bool of_gamma : {false, true}) {
      const int p = of_gamma ? gamma : beta;
      if (!d.wanted(p)) continue;
      Node g{.op = Op::norm_parameter_gradient, .shape = {channels}, .input = {s.id, -1, -1, -1, -1, -1}};
      g.begin = of_gamma ? channels : 0;
      d.contribute_parameter(p, g);
    }
    if (d.wanted(x)) {
      Node g{.op = Op::normalize_gradient, .shape = n.shape, .input = {dy.id, x, n.input[1], s.id, gamma, beta}};
      copy_attributes(g, n);
      d.contribute(x, d.append(g));
    }
  }

 private:
  static constexpr void copy_attributes(Node& to, const Node& from) {
    to.norm = from.norm;
    to.activation = from.activation;
    to.slope = from.slope;
  }
};

/// Inputs dy, x, moments, [gamma, beta]. With xh = (x - mean) / sqrt(variance + epsilon) and dz the gradient before the
/// fused activation (a function of z = gamma xh + beta, recomputed): record {2 C} = sum dz, then sum dz xh, over the
/// pixels of one sample, or of the batch for batch norm.
template <>
struct OpRule<Op::normalize_gradient_sums> : OpDefaults {
  static constexpr const char* name = "normalize_gradient_sums";
};

/// Inputs dy, x, moments, sums, [gamma, beta]. With m the number of values that share statistics, S and T the sums over
/// the group's channels c of gamma_c sum dz_c and gamma_c sum (dz xh)_c:
///   dx = (gamma dz - S / m - xh T / m) / sqrt(variance + epsilon)
template <>
struct OpRule<Op::normalize_gradient> : OpDefaults {
  static constexpr const char* name = "normalize_gradient";
  static constexpr int in_place = 0;
  static constexpr std::int64_t macs(const auto&, const Node& n) { return 3 * n.shape.size(); }
};

/// Input: sums {2 C} of every sample (or of the batch). g[c] = sum over samples of sums[begin + c].
template <>
struct OpRule<Op::norm_parameter_gradient> : OpDefaults {
  static constexpr const char* name = "norm_parameter_gradient";
};

template <>
struct OpRule<Op::update_running> : OpDefaults {
  static constexpr const char* name = "update_running";
};

template <>
struct OpRule<Op::running_affine> : OpDefaults {
  static constexpr const char* name = "running_affine";
};

template <>
struct OpRule<Op::affine> : OpDefaults {
  static constexpr const char* name = "affine";
  static constexpr int in_place = 0;
  static constexpr std::int64_t macs(const auto&, const Node& n) { return n.shape.size(); }
};

/// Inputs weight [tap][in][out], scale_shift {2 out}: w[t][c][k] scale[k]. Made by graph/fuse.hpp.
template <>
struct OpRule<Op::fold_weight> : OpDefaults {
  static constexpr const char* name = "fold_weight";
};

/// Inputs scale_shift {2 K}, [bias {K}]: shift[k] + bias[k] scale[k]. Made by graph/fuse.hpp.
template <>
struct OpRule<Op::fold_bias> : OpDefaults {
  static constexpr const char* name = "fold_bias";
};

}  // namespace ulna
