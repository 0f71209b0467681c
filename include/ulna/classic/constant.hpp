// SPDX-License-Identifier: MIT
// The least that can be said: every pixel is of the commonest class. Its pixel error is the floor any method must beat.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"

namespace ulna::classic {

/// Learns the majority class of training labels and predicts it everywhere.
class ConstantPredictor {
 public:
  /// Counts the pixels of one label map.
  void add(const LabelArray& labels) {
    for (std::size_t i = 0; i < labels.size(); ++i) ++pixels_[labels.data()[i]];
  }

  /// The class of most pixels so far, the lowest of equals. Throws ArgumentError before the first pixel.
  std::uint8_t majority() const {
    const auto most = std::max_element(pixels_.begin(), pixels_.end());
    if (*most == 0) throw ArgumentError("the constant predictor has seen no labels; add the training labels first");
    return static_cast<std::uint8_t>(std::distance(pixels_.begin(), most));
  }

  /// A label map of that class.
  LabelArray predict(int height, int width) const {
    const std::uint8_t label = majority();
    auto labels = make_labels(height, width);
    labels.fill(label);
    return labels;
  }

 private:
  std::array<std::uint64_t, 256> pixels_{};
};

}  // namespace ulna::classic
