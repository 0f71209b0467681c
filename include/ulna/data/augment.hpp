// SPDX-License-Identifier: MIT
// Augmented crops of training pairs.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "ulna/data/augmentation.hpp"
#include "ulna/data/crop.hpp"
#include "ulna/data/sample.hpp"
#include "ulna/error.hpp"
#include "ulna/random.hpp"

namespace ulna {

/// Throws ArgumentError unless the crop has pixels, with and without its label margin.
inline void require_valid(const Crop& crop) {
  if (crop.label_margin >= 0 && crop.height > 2 * crop.label_margin && crop.width > 2 * crop.label_margin) return;
  throw ArgumentError("a crop of " + std::to_string(crop.height) + " x " + std::to_string(crop.width) +
                      " pixels with a label margin of " + std::to_string(crop.label_margin) +
                      "; margins on both sides must leave at least one pixel");
}

/// Applies the intensity augmentations to the values of one patch, all channels alike.
inline void augment_intensity(std::span<float> values, const Augmentation& options, Random& random) {
  const bool invert = options.inversion_probability > 0 && random.chance(options.inversion_probability);
  if (invert || options.gamma > 0) {
    const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
    const float low = *smallest, range = *largest - *smallest;
    if (invert) {
      for (float& value : values) value = low + (low + range - value);
    }
    if (options.gamma > 0) {
      const float log_range = std::log1p(options.gamma);
      const float exponent = std::exp(random.uniform(-log_range, log_range));
      for (float& value : values) {
        // Rounding may leave a value a hair below `low`, and its power would be a NaN.
        if (range > 0) value = low + range * std::pow(std::max(0.0f, value - low) / range, exponent);
      }
    }
  }
  if (options.contrast > 0 || options.brightness > 0) {
    double sum = 0;
    for (const float value : values) sum += double{value};
    const auto mean = static_cast<float>(sum / static_cast<double>(values.size()));
    const float factor = options.contrast > 0 ? random.uniform(1 - options.contrast, 1 + options.contrast) : 1.0f;
    const float shift = options.brightness > 0 ? random.uniform(-options.brightness, options.brightness) : 0.0f;
    for (float& value : values) value = mean + (value - mean) * factor + shift;
  }
  if (options.noise > 0) {
    const float deviation = options.noise * random.uniform();
    for (float& value : values) value += deviation * random.normal();
  }
}

/// Writes an augmented crop of the sample to memory of the crop's extents: image (height, width, channels), labels and
/// weights (height - 2 margin, width - 2 margin). Weights are written if there is a place for them; the sample must
/// have them. What is drawn depends on `random` alone. The arguments are taken to be valid, as augment() checks.
inline void augment_into(const Sample& sample, const Augmentation& options, const Crop& crop, Random& random,
                         const PatchView& patch) {
  const CropGeometry geometry(options, crop, extent(sample.image, 0), extent(sample.image, 1), random);
  geometry.apply(sample, patch);
  const std::size_t values =
      static_cast<std::size_t>(crop.height) * static_cast<std::size_t>(crop.width) * sample.image.shape(2);
  augment_intensity({patch.image, values}, options, random);
}

/// An augmented crop of the sample. Image, labels and weights undergo the same geometry; the image is sampled
/// bilinearly, labels and weights from the nearest pixel; borders are reflected, also of an image smaller than the
/// crop. With flips, right angles and crops alone every value is copied unchanged. Throws DataError for an invalid
/// sample and ArgumentError for options out of range.
inline Sample augment(const Sample& sample, const Augmentation& options, const Crop& crop, Random& random) {
  require_valid(sample);
  require_valid(options);
  require_valid(crop);
  Sample result{sample.name,
                make_image(crop.height, crop.width, extent(sample.image, 2)),
                make_labels(crop.label_height(), crop.label_width()),
                {}};
  if (sample.has_weights()) {
    result.weights = detail::make_array<WeightArray>(crop.label_height(), crop.label_width());
  }
  augment_into(sample, options, crop, random,
               {result.image.data(), result.labels.data(), sample.has_weights() ? result.weights.data() : nullptr});
  return result;
}

/// As above, for a patch with labels for all of its pixels.
inline Sample augment(const Sample& sample, const Augmentation& options, int height, int width, Random& random) {
  return augment(sample, options, Crop{height, width}, random);
}

}  // namespace ulna
