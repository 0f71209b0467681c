// SPDX-License-Identifier: MIT
// One training pair.
#pragma once

#include <string>

#include "ulna/data/image.hpp"

namespace ulna {

/// An image with its label map, and optionally a loss weight for every pixel.
struct Sample {
  std::string name;       ///< for messages and for names of written files
  ImageArray image;       ///< (height, width, channels)
  LabelArray labels;      ///< (height, width), class indices
  WeightArray weights{};  ///< (height, width), or empty (size 0): every pixel weighs 1

  bool has_weights() const { return weights.size() > 0; }
};

/// Throws DataError unless the parts of the sample are of one size and every pixel of its image is finite.
inline void require_valid(const Sample& sample) {
  const auto fits = [&](const auto& map) {
    return map.shape(0) == sample.image.shape(0) && map.shape(1) == sample.image.shape(1);
  };
  const std::string found = "sample '" + sample.name + "': the image is " + detail::size_text(sample.image);
  if (sample.image.size() == 0) throw DataError(found + "; it must have pixels");
  if (!fits(sample.labels)) {
    throw DataError(found + ", its mask " + detail::size_text(sample.labels) +
                    "; both must be of one height and width");
  }
  if (sample.has_weights() && !fits(sample.weights)) {
    throw DataError(found + ", its weight map " + detail::size_text(sample.weights) +
                    "; both must be of one height and width");
  }
  require_finite(sample.image, sample.name);
}

}  // namespace ulna
