// SPDX-License-Identifier: MIT
// Bringing the values of images to a common scale. Each normalisation is a small policy struct called on an image.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "ulna/data/image.hpp"
#include "ulna/data/sample.hpp"

namespace ulna {

namespace detail {

/// Calls f(first value, stride, count) for the whole image, or for each channel.
template <class F>
void for_each_value_group(ImageArray& image, bool per_channel, F f) {
  const std::size_t groups = per_channel ? image.shape(2) : 1;
  for (std::size_t group = 0; group < groups; ++group) f(image.data() + group, groups, image.size() / groups);
}

}  // namespace detail

/// x <- (x - mean) / max(standard deviation, epsilon), over the image or over each of its channels.
/// The deviation is the population's; sums run in double, in memory order. A constant image becomes 0.
struct ZScore {
  bool per_channel = false;
  float epsilon = 1e-6f;

  void operator()(ImageArray& image) const {
    detail::for_each_value_group(image, per_channel, [this](float* values, std::size_t stride, std::size_t count) {
      double sum = 0, squares = 0;
      for (std::size_t i = 0; i < count; ++i) sum += double{values[i * stride]};
      const double mean = sum / static_cast<double>(count);
      for (std::size_t i = 0; i < count; ++i) squares += std::pow(double{values[i * stride]} - mean, 2);
      const double deviation = std::sqrt(squares / static_cast<double>(count));
      const double factor = 1 / std::max(deviation, double{epsilon});
      for (std::size_t i = 0; i < count; ++i) {
        values[i * stride] = static_cast<float>((double{values[i * stride]} - mean) * factor);
      }
    });
  }
};

/// Maps the smallest value to `low` and the largest to `high`. A constant image becomes `low`.
struct MinMax {
  float low = 0, high = 1;
  bool per_channel = false;

  void operator()(ImageArray& image) const {
    detail::for_each_value_group(image, per_channel, [this](float* values, std::size_t stride, std::size_t count) {
      float smallest = values[0], largest = values[0];
      for (std::size_t i = 0; i < count; ++i) {
        smallest = std::min(smallest, values[i * stride]);
        largest = std::max(largest, values[i * stride]);
      }
      const float factor = largest > smallest ? (high - low) / (largest - smallest) : 0.0f;
      for (std::size_t i = 0; i < count; ++i) values[i * stride] = low + (values[i * stride] - smallest) * factor;
    });
  }
};

/// x <- (x - mean) / deviation with given constants: one of each, or one of each per channel.
struct FixedMeanStd {
  std::vector<float> mean, deviation;

  void operator()(ImageArray& image) const {
    const std::size_t channels = image.shape(2), constants = mean.size();
    const auto positive = [](float value) { return value > 0; };
    if (deviation.size() != constants || (constants != 1 && constants != channels) ||
        !std::all_of(deviation.begin(), deviation.end(), positive)) {
      throw ArgumentError("FixedMeanStd has " + std::to_string(constants) + " means and " +
                          std::to_string(deviation.size()) + " deviations for an image of " + std::to_string(channels) +
                          " channels; give one of each, or one of each per channel, deviations above 0");
    }
    for (std::size_t i = 0; i < image.size(); ++i) {
      const std::size_t constant = constants == 1 ? 0 : i % channels;
      image.data()[i] = (image.data()[i] - mean[constant]) / deviation[constant];
    }
  }
};

/// The value below which `percent` of the values lie, with linear interpolation between neighbours in rank.
/// Reorders `values`. Throws ArgumentError for a percent outside 0..100 or no values.
inline float percentile(std::span<float> values, double percent) {
  if (values.empty() || !(percent >= 0 && percent <= 100)) {
    throw ArgumentError("percentile " + std::to_string(percent) + " of " + std::to_string(values.size()) +
                        " values; it must be 0..100 of at least one");
  }
  const double rank = percent / 100 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::ptrdiff_t>(rank);
  const auto nth = values.begin() + below;
  std::nth_element(values.begin(), nth, values.end());
  const float above = nth + 1 == values.end() ? *nth : *std::min_element(nth + 1, values.end());
  return *nth + static_cast<float>(rank - static_cast<double>(below)) * (above - *nth);
}

/// Clips the values of the image to its own percentiles, against hot pixels and dust.
struct PercentileClip {
  double low = 0.5, high = 99.5;

  void operator()(ImageArray& image) const {
    if (!(low <= high)) {
      throw ArgumentError("PercentileClip from " + std::to_string(low) + " to " + std::to_string(high) +
                          "; the lower percentile comes first");
    }
    std::vector<float> copy(image.data(), image.data() + image.size());
    const float smallest = percentile(copy, low), largest = percentile(copy, high);
    std::for_each(image.data(), image.data() + image.size(),
                  [=](float& value) { value = std::clamp(value, smallest, largest); });
  }
};

/// Normalises an image in place. Throws DataError, naming `name` and the pixel, for a NaN or an infinity.
template <class Normalization>
void normalize(ImageArray& image, const Normalization& normalization, const std::string& name = "unnamed") {
  if (image.size() == 0) throw DataError("image '" + name + "' is empty; it must have pixels");
  require_finite(image, name);
  normalization(image);
}

/// Normalises the images of all samples, each by itself.
template <class Normalization>
void normalize(std::vector<Sample>& samples, const Normalization& normalization) {
  for (Sample& sample : samples) normalize(sample.image, normalization, sample.name);
}

}  // namespace ulna
