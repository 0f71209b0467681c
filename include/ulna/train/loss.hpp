// SPDX-License-Identifier: MIT
// Losses as types: each lowers to nodes that end in a record whose first element is the loss.
#pragma once

#include <ratio>

#include "ulna/layer/activation.hpp"
#include "ulna/op/ops.hpp"

namespace ulna {

/// Cross-entropy of softmax(logits), mean over the batch's pixels; with Weighted, the mean under a weight for each
/// pixel (class weights and maps such as the U-Net paper's borders, see train/border_weights.hpp).
template <bool Weighted = false>
struct CrossEntropyLoss {
  static constexpr bool pixel_weights = Weighted;
  static constexpr int classes_of(int logits) { return logits; }
  static constexpr Value lower(Builder& b, Value logits, Value labels, Value weights) {
    if (b.shape(logits).channels < 2)
      b.fail(RuleKind::value_must_be_positive, b.shape(logits).channels, 2,
             Sentence{} << "cross-entropy needs at least 2 logits a pixel, the network gives "
                        << b.shape(logits).channels << "; use Classes<2>, or BinaryCrossEntropy",
             false);
    return op::cross_entropy(b, logits, labels, Weighted ? weights : Value{});
  }
};
using CrossEntropy = CrossEntropyLoss<false>;
using WeightedCrossEntropy = CrossEntropyLoss<true>;

/// Cross-entropy of sigmoid(logit) for networks with Classes<1>.
template <bool Weighted = false>
struct BinaryCrossEntropyLoss {
  static constexpr bool pixel_weights = Weighted;
  static constexpr int classes_of(int) { return 2; }
  static constexpr Value lower(Builder& b, Value logits, Value labels, Value weights) {
    return op::binary_cross_entropy(b, logits, labels, Weighted ? weights : Value{});
  }
};
using BinaryCrossEntropy = BinaryCrossEntropyLoss<false>;
using WeightedBinaryCrossEntropy = BinaryCrossEntropyLoss<true>;

/// The conventions of soft Dice that the field uses (see op::soft_dice for the formula).
namespace dice {
/// Sums over the batch, smoothing 1 above and below, all classes.
struct Batch {
  static constexpr DiceAttributes attributes{};
};
/// nnU-Net's: smoothing 1e-5, no background, sums over the batch.
struct NnUNet {
  static constexpr DiceAttributes attributes{1e-5f, 1e-5f, false, false, false};
};
/// MONAI's DiceLoss: smoothing 1e-5, all classes, each sample by itself.
struct Monai {
  static constexpr DiceAttributes attributes{1e-5f, 1e-5f, false, true, true};
};
/// TransUNet's: squared denominators, smoothing 1e-5, all classes, sums over the batch.
struct Squared {
  static constexpr DiceAttributes attributes{1e-5f, 1e-5f, true, true, false};
};
}  // namespace dice

/// Soft Dice under a convention.
template <class Convention = dice::Batch>
struct SoftDice {
  static constexpr bool pixel_weights = false;
  static constexpr int classes_of(int logits) { return logits == 1 ? 2 : logits; }
  static constexpr Value lower(Builder& b, Value logits, Value labels, Value) {
    return op::soft_dice(b, logits, labels, Convention::attributes);
  }
};

/// First + second, each with a weight.
template <class First, class Second, class FirstWeight = std::ratio<1>, class SecondWeight = std::ratio<1>>
struct SumOfLosses {
  static constexpr bool pixel_weights = First::pixel_weights || Second::pixel_weights;
  static constexpr int classes_of(int logits) { return First::classes_of(logits); }
  static constexpr Value lower(Builder& b, Value logits, Value labels, Value weights) {
    const Value first = First::lower(b, logits, labels, weights);
    const Value second = Second::lower(b, logits, labels, weights);
    return op::weighted_sum(b, first, detail::value_of<FirstWeight>, second, detail::value_of<SecondWeight>);
  }
};

/// Cross-entropy plus soft Dice: the usual choice for medical images.
using DiceCrossEntropy = SumOfLosses<CrossEntropy, SoftDice<>>;
using DiceBinaryCrossEntropy = SumOfLosses<BinaryCrossEntropy, SoftDice<>>;

}  // namespace ulna
