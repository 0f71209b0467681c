// SPDX-License-Identifier: MIT
// Pixel error, Dice and IoU. What a score is when there is nothing to find is the source of most disagreement between
// packages, so that rule is a policy type, part of the score's own type and name.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "ulna/metric/confusion.hpp"

namespace ulna::metric {

/// Rules for a class that the truth of an image (or, pooled, of no image) does not contain.
/// `both` is the score when the prediction is empty too, `truth_only` when it is not, `none` the mean of no score.
namespace empty {

inline constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

/// Not a number, left out of means; a false alarm counts 0. As nnU-Net v2.
struct Nan {
  static constexpr std::string_view name = "NaN";
  static constexpr double both = undefined, truth_only = 0, none = undefined;
};
/// Perfect when nothing is claimed; a false alarm counts 0. As medpy, and MONAI with ignore_empty=False.
struct One {
  static constexpr std::string_view name = "1";
  static constexpr double both = 1, truth_only = 0, none = undefined;
};
/// Always 0.
struct Zero {
  static constexpr std::string_view name = "0";
  static constexpr double both = 0, truth_only = 0, none = undefined;
};
/// Left out of means whatever is claimed, so that false alarms on empty images go unpunished; the mean of nothing is 0.
/// As MONAI by default.
struct MonaiIgnore {
  static constexpr std::string_view name = "ignored (MONAI)";
  static constexpr double both = undefined, truth_only = undefined, none = 0;
};

}  // namespace empty

/// Share of misclassified pixels, over all classes. (Plain misclassification: the pixel error of the old ISBI-2012
/// board is one minus the best F score instead.)
struct PixelError {
  static constexpr bool per_class = false;
  static constexpr double none = empty::undefined;
  static std::string name() { return "pixel error"; }
  static std::string convention() { return ""; }

  static double of(const Confusion& counts) {
    std::uint64_t wrong = 0, all = 0;
    for (const Counts& c : counts) {
      wrong += c.false_negative;
      all += c.truth();
    }
    return all == 0 ? none : static_cast<double>(wrong) / static_cast<double>(all);
  }
};

/// What Dice and IoU share. Derived says fraction(TP, FP + FN).
template <class Derived, class EmptyPolicy>
struct Overlap {
  static constexpr bool per_class = true;
  static constexpr double none = EmptyPolicy::none;
  static std::string convention() { return ", empty = " + std::string(EmptyPolicy::name); }

  static double of(const Counts& counts) {
    if (counts.truth() == 0) return counts.predicted() == 0 ? EmptyPolicy::both : EmptyPolicy::truth_only;
    return Derived::fraction(static_cast<double>(counts.true_positive),
                             static_cast<double>(counts.false_positive + counts.false_negative));
  }
};

/// 2 TP / (2 TP + FP + FN).
template <class EmptyPolicy = empty::Nan>
struct Dice : Overlap<Dice<EmptyPolicy>, EmptyPolicy> {
  static std::string name() { return "Dice"; }
  static double fraction(double hits, double errors) { return 2 * hits / (2 * hits + errors); }
};

/// TP / (TP + FP + FN), the Jaccard index J = D / (2 - D).
template <class EmptyPolicy = empty::Nan>
struct IoU : Overlap<IoU<EmptyPolicy>, EmptyPolicy> {
  static std::string name() { return "IoU"; }
  static double fraction(double hits, double errors) { return hits / (hits + errors); }
};

}  // namespace ulna::metric
