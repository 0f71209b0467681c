// SPDX-License-Identifier: MIT
// Losses on logits. Each is a record whose first element is the loss; the rest is what its gradient needs.
// Labels are class indices held as numbers of the element type, {1, ...}; pixel weights are {1, ...} or absent (all 1).
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/rule.hpp"

namespace ulna {
namespace op {

/// Record {2} = loss, W with W = sum of w over the batch, loss = (1 / W) sum w (log sum_k exp(x_k) - x_label).
/// With weights 1 this is the mean over all pixels of the batch. A batch whose weights are all 0 has loss 0.
constexpr Value cross_entropy(Builder& b, Value logits, Value labels, Value weights) {
  require_equal_extents(b, logits, labels, "loss: logits and labels as");
  Node node{.op = Op::cross_entropy, .shape = {2}, .input = {logits.id, labels.id, weights.id, -1, -1, -1}};
  node.per_sample = false;
  return b.append(node);
}

/// Record {2} = loss, W for one-channel logits x and labels y in {0, 1}:
/// loss = (1 / W) sum w (max(x, 0) - x y + log(1 + exp(-|x|))).
constexpr Value binary_cross_entropy(Builder& b, Value logits, Value labels, Value weights) {
  require_equal_extents(b, logits, labels, "loss: logits and labels as");
  if (b.shape(logits).channels != 1)
    b.fail(RuleKind::channels_must_match, b.shape(logits).channels, 1,
           Sentence{} << "binary cross-entropy needs 1 logit a pixel, the network gives " << b.shape(logits).channels
                      << "; use Classes<1>, or CrossEntropy for several classes",
           false);
  Node node{.op = Op::binary_cross_entropy, .shape = {2}, .input = {logits.id, labels.id, weights.id, -1, -1, -1}};
  node.per_sample = false;
  return b.append(node);
}

/// Record {1 + 3 C} = loss, then for each class c: I_c = sum p y, P_c = sum p (squared: p^2), Y_c = sum y, with
/// p = softmax(logits), or sigmoid for one channel, y one-hot (for one channel y = label), and
///   D_c = (2 I_c + smooth_numerator) / (P_c + Y_c + smooth_denominator),  loss = 1 - mean of D_c over the counted
///   classes.
/// Sums run over the batch, or over each sample with DiceAttributes::per_sample (then one record a sample).
/// The counted classes are all, or without include_background all but class 0 (one channel: always counted).
constexpr Value soft_dice(Builder& b, Value logits, Value labels, const DiceAttributes& dice) {
  require_equal_extents(b, logits, labels, "loss: logits and labels as");
  Node node{.op = Op::soft_dice,
            .shape = {1 + 3 * b.shape(logits).channels},
            .input = {logits.id, labels.id, -1, -1, -1, -1}};
  node.dice = dice;
  node.per_sample = dice.per_sample;
  return b.append(node);
}

/// {1} = rate x (first element of record 0, mean over its samples) + rate2 x (the same of record 1, if there is one).
constexpr Value weighted_sum(Builder& b, Value first, float rate, Value second = {}, float rate2 = 0.0f) {
  Node node{.op = Op::weighted_sum, .shape = {1}, .input = {first.id, second.id, -1, -1, -1, -1}};
  node.rate = rate;
  node.rate2 = rate2;
  node.per_sample = false;
  return b.append(node);
}

namespace detail {
/// Gradient by the logits: same inputs as the loss, then its record; `rate` is the loss's weight in the total.
constexpr void loss_backward(Backward& d, const Node& n, int id, Op kind) {
  Node g{.op = kind,
         .shape = d.b.graph.nodes[n.input[0]].shape,
         .input = {n.input[0], n.input[1], id, n.input[2], -1, -1}};
  g.dice = n.dice;
  g.rate = d.loss_weight(id);
  d.contribute(n.input[0], d.append(g));
}
}  // namespace detail

}  // namespace op

template <>
struct OpRule<Op::cross_entropy> : OpDefaults {
  static constexpr const char* name = "cross_entropy";
  static constexpr void differentiate(Backward& d, const Node& n, int id, Value) {
    op::detail::loss_backward(d, n, id, Op::cross_entropy_gradient);
  }
};

/// Inputs logits, labels, record, [weights]. dx_c = rate w / W (softmax_c - [c = label]).
template <>
struct OpRule<Op::cross_entropy_gradient> : OpDefaults {
  static constexpr const char* name = "cross_entropy_gradient";
};

template <>
struct OpRule<Op::binary_cross_entropy> : OpDefaults {
  static constexpr const char* name = "binary_cross_entropy";
  static constexpr void differentiate(Backward& d, const Node& n, int id, Value) {
    op::detail::loss_backward(d, n, id, Op::binary_cross_entropy_gradient);
  }
};

/// Inputs logits, labels, record, [weights]. dx = rate w / W (sigmoid(x) - y).
template <>
struct OpRule<Op::binary_cross_entropy_gradient> : OpDefaults {
  static constexpr const char* name = "binary_cross_entropy_gradient";
};

template <>
struct OpRule<Op::soft_dice> : OpDefaults {
  static constexpr const char* name = "soft_dice";
  static constexpr void differentiate(Backward& d, const Node& n, int id, Value) {
    op::detail::loss_backward(d, n, id, Op::soft_dice_gradient);
  }
};

/// Inputs logits, labels, record. d loss / d p_c = -(1 / counted) (2 y - q D_c) / (P_c + Y_c + smooth_denominator) with
/// q = 1, or 2 p_c when squared; then through softmax or sigmoid; times rate (and 1 / batch when per_sample).
template <>
struct OpRule<Op::soft_dice_gradient> : OpDefaults {
  static constexpr const char* name = "soft_dice_gradient";
};

template <>
struct OpRule<Op::weighted_sum> : OpDefaults {
  static constexpr const char* name = "weighted_sum";
  static constexpr void differentiate(Backward& d, const Node& n, int id, Value) {
    const float weight = d.loss_weight(id);
    if (n.input[0] >= 0) d.loss_weight(n.input[0]) += weight * n.rate;
    if (n.input[1] >= 0) d.loss_weight(n.input[1]) += weight * n.rate2;
  }
};

}  // namespace ulna
