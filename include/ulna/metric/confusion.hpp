// SPDX-License-Identifier: MIT
// What every overlap score is made of: per class, the pixels that are right, wrongly claimed and missed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"

namespace ulna::metric {

/// Pixel counts of one class against the rest.
struct Counts {
  std::uint64_t true_positive = 0;
  std::uint64_t false_positive = 0;  ///< predicted, not true
  std::uint64_t false_negative = 0;  ///< true, not predicted
  std::uint64_t true_negative = 0;

  std::uint64_t truth() const { return true_positive + false_negative; }
  std::uint64_t predicted() const { return true_positive + false_positive; }

  Counts& operator+=(const Counts& other) {
    true_positive += other.true_positive;
    false_positive += other.false_positive;
    false_negative += other.false_negative;
    true_negative += other.true_negative;
    return *this;
  }
  bool operator==(const Counts&) const = default;
};

/// The counts of every class, indexed by class.
using Confusion = std::vector<Counts>;

/// Counts the pixels of each of `classes` classes in a prediction and its truth, label maps of equal shape.
/// Throws DataError when the shapes differ or a label is not below `classes`.
inline Confusion confusion(const LabelArray& prediction, const LabelArray& truth, int classes) {
  if (prediction.shape() != truth.shape()) {
    throw DataError("the prediction is " + ulna::detail::size_text(prediction) + ", its truth " +
                    ulna::detail::size_text(truth) + "; they must be of one size");
  }
  if (classes < 1 || classes > 256) {
    throw ArgumentError("confusion: " + std::to_string(classes) + " classes; 1 to 256 are possible");
  }
  const auto count = static_cast<std::size_t>(classes);
  const auto check = [&](std::uint8_t label, const char* where) {
    if (label >= count) {
      throw DataError(std::string("a pixel of the ") + where + " is of class " + std::to_string(label) + "; of " +
                      std::to_string(classes) + " classes the largest is " + std::to_string(classes - 1));
    }
  };
  Confusion counts(count);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const std::uint8_t is = prediction.data()[i], should = truth.data()[i];
    check(is, "prediction");
    check(should, "truth");
    if (is == should) {
      ++counts[is].true_positive;
    } else {
      ++counts[is].false_positive;
      ++counts[should].false_negative;
    }
  }
  for (Counts& c : counts) {
    c.true_negative = truth.size() - c.true_positive - c.false_positive - c.false_negative;
  }
  return counts;
}

}  // namespace ulna::metric
