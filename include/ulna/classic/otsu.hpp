// SPDX-License-Identifier: MIT
// Otsu, "A threshold selection method from gray-level histograms" (IEEE Trans. SMC 1979): the threshold that maximises
// the variance between the two classes, w0 w1 (mu0 - mu1)^2. A baseline that a network has to beat.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"

namespace ulna::classic {

/// The values black and white of an image have: 0 and 255 as read from an 8-bit file.
struct ValueRange {
  float low = 0;
  float high = 255;
};

namespace detail {

inline constexpr int otsu_bins = 256;

/// Which of the 256 bins a value belongs to. Bin k is centred on low + k (high - low) / 255, so that an 8-bit image has
/// one bin a grey value.
inline int otsu_bin(float value, const ValueRange& range) {
  if (!(value >= range.low && value <= range.high)) {
    throw DataError("Otsu: found a pixel of value " + std::to_string(value) + "; the value range is given as " +
                    std::to_string(range.low) + " to " + std::to_string(range.high));
  }
  const float place = (value - range.low) / (range.high - range.low) * static_cast<float>(otsu_bins - 1);
  return static_cast<int>(std::lround(place));
}

inline std::array<std::int64_t, otsu_bins> otsu_histogram(const ImageArray& image, const ValueRange& range) {
  if (!(range.low < range.high)) throw ArgumentError("Otsu: the value range is empty; low must be below high");
  if (image.size() == 0) throw DataError("Otsu: the image has no pixels");
  std::array<std::int64_t, otsu_bins> histogram{};
  for (std::size_t i = 0; i < image.size(); i += image.shape(2)) {
    ++histogram[static_cast<std::size_t>(otsu_bin(image.data()[i], range))];
  }
  return histogram;
}

/// The last bin of the dark class; the first such bin where several are equally good. Of a constant image its bin.
inline int otsu_split(const std::array<std::int64_t, otsu_bins>& histogram) {
  std::int64_t pixels = 0, sum = 0;
  for (std::int64_t bin = 0; const std::int64_t count : histogram) {
    pixels += count;
    sum += bin++ * count;
  }
  int best = -1, last_used = 0;
  double best_variance = -1;
  std::int64_t dark_pixels = 0, dark_sum = 0;
  for (int bin = 0; bin < otsu_bins; ++bin) {
    const std::int64_t count = histogram[static_cast<std::size_t>(bin)];
    if (count > 0) last_used = bin;
    dark_pixels += count;
    dark_sum += bin * count;
    if (dark_pixels == 0 || dark_pixels == pixels) continue;  // one class is empty
    const auto w0 = static_cast<double>(dark_pixels), w1 = static_cast<double>(pixels - dark_pixels);
    const double difference = static_cast<double>(dark_sum) / w0 - static_cast<double>(sum - dark_sum) / w1;
    const double variance = w0 * w1 * difference * difference;
    if (variance > best_variance) {
      best_variance = variance;
      best = bin;
    }
  }
  return best < 0 ? last_used : best;
}

}  // namespace detail

/// Otsu's threshold of channel 0 of an image (height, width, channels), from a histogram of 256 bins over `range`: the
/// centre of the last bin of the dark class, as scikit-image has it; foreground is what lies above. Of a constant image
/// the value (to a bin). Throws DataError when a value is NaN or outside the range, ArgumentError for an empty range.
inline float otsu_threshold(const ImageArray& image, const ValueRange& range = {}) {
  const int split = detail::otsu_split(detail::otsu_histogram(image, range));
  return range.low + (range.high - range.low) * static_cast<float>(split) / static_cast<float>(detail::otsu_bins - 1);
}

/// The image (channel 0) split at Otsu's threshold: 1 where x > t, 0 elsewhere (everywhere, for a constant image).
/// Bins are compared, not values, so that the result does not hang on the rounding of a scaled image. Throws as
/// otsu_threshold does.
inline LabelArray otsu(const ImageArray& image, const ValueRange& range = {}) {
  const int split = detail::otsu_split(detail::otsu_histogram(image, range));
  auto labels = make_labels(extent(image, 0), extent(image, 1));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    labels.data()[i] = detail::otsu_bin(image.data()[i * image.shape(2)], range) > split ? 1 : 0;
  }
  return labels;
}

/// Makes the smaller side of a mask of 0 and 1 the foreground: swaps the two when more than half of the pixels are 1.
/// For objects that are fewer than their background but may be brighter or darker, such as stained nuclei.
inline LabelArray minority_foreground(LabelArray mask) {
  const auto ones = std::count(mask.data(), mask.data() + mask.size(), std::uint8_t{1});
  if (2 * static_cast<std::size_t>(ones) > mask.size()) {
    std::transform(mask.data(), mask.data() + mask.size(), mask.data(),
                   [](std::uint8_t label) { return static_cast<std::uint8_t>(label == 0 ? 1 : 0); });
  }
  return mask;
}

}  // namespace ulna::classic
