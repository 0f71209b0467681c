// SPDX-License-Identifier: MIT
// The weight map of the U-Net paper (Ronneberger et al. 2015, eq. 2), which makes the thin background between touching
// cells expensive to miss:
//   w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))
// d1 and d2 are the distances of pixel x to the borders of the nearest and the second nearest cell.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"
#include "ulna/predict/components.hpp"
#include "ulna/predict/distance_transform.hpp"

namespace ulna {

/// The constants of the weight map. The defaults are the paper's.
struct BorderWeights {
  float w0 = 10;                             ///< weight where two borders meet, on top of w_c
  float sigma = 5;                           ///< reach of a border, in pixels
  std::array<float, 2> class_weights{1, 1};  ///< w_c of background and cells; see balanced_class_weights
  bool background_only = false;              ///< many implementations leave the border term out inside cells
};

/// Weights that let every class weigh the same in total with a mean of 1 over the pixels: w_k = N / (K n_k). Classes
/// without pixels get 0 and do not count in K. Throws ArgumentError when no class has pixels.
inline std::vector<float> balanced_class_weights(std::span<const std::uint64_t> pixels) {
  std::uint64_t all = 0, present = 0;
  for (const std::uint64_t count : pixels) {
    all += count;
    present += count > 0 ? 1 : 0;
  }
  if (all == 0) throw ArgumentError("balanced_class_weights: no class has pixels; count the training labels first");
  std::vector<float> weights;
  for (const std::uint64_t count : pixels) {
    const double weight = count == 0 ? 0 : static_cast<double>(all) / (static_cast<double>(present * count));
    weights.push_back(static_cast<float>(weight));
  }
  return weights;
}

namespace detail {

/// Rows and columns [top, bottom) x [left, right).
struct Box {
  std::size_t top = SIZE_MAX, left = SIZE_MAX, bottom = 0, right = 0;

  void include(std::size_t y, std::size_t x) {
    top = std::min(top, y), left = std::min(left, x);
    bottom = std::max(bottom, y + 1), right = std::max(right, x + 1);
  }
  Box grown(std::size_t by, std::size_t height, std::size_t width) const {
    return {top - std::min(top, by), left - std::min(left, by), std::min(height, bottom + by),
            std::min(width, right + by)};
  }
};

/// Instances of an arbitrary numbering, by rank of their number, with the boxes around them.
inline std::vector<std::pair<int, Box>> instance_boxes(const InstanceArray& instances) {
  std::vector<int> numbers(instances.data(), instances.data() + instances.size());
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  if (!numbers.empty() && numbers.front() < 0) {
    throw DataError("an instance has the number " + std::to_string(numbers.front()) +
                    "; instances are numbered from 1, and 0 is background");
  }
  std::vector<std::pair<int, Box>> boxes;
  for (const int number : numbers) boxes.emplace_back(number, Box{});
  for (std::size_t y = 0; y < instances.shape(0); ++y) {
    for (std::size_t x = 0; x < instances.shape(1); ++x) {
      const auto rank = std::lower_bound(numbers.begin(), numbers.end(), instances(y, x)) - numbers.begin();
      boxes[static_cast<std::size_t>(rank)].second.include(y, x);
    }
  }
  std::erase_if(boxes, [](const auto& box) { return box.first == 0; });
  return boxes;
}

/// Whether a pixel of its instance shares an edge with a pixel that is not. The edge of the image is no border.
inline bool on_border(const InstanceArray& instances, std::size_t y, std::size_t x) {
  const int number = instances(y, x);
  return (y > 0 && instances(y - 1, x) != number) || (x > 0 && instances(y, x - 1) != number) ||
         (y + 1 < instances.shape(0) && instances(y + 1, x) != number) ||
         (x + 1 < instances.shape(1) && instances(y, x + 1) != number);
}

}  // namespace detail

/// The squared distances of every pixel to the borders of its nearest and its second nearest instance.
struct BorderDistances {
  SquaredDistances nearest;  ///< infinitely_far where no border is within reach
  SquaredDistances second;   ///< infinitely_far where no second instance's is
};

/// Distances to the borders of instances (height, width; 0 background), the pixels of an instance that share an edge
/// with another instance or the background. Exact up to `reach` pixels; farther is infinitely_far. An exact distance
/// transform of each instance in a window of `reach` around it, so the cost is the sum of these windows. Throws
/// DataError for a negative instance number.
inline BorderDistances border_distances(const InstanceArray& instances, std::size_t reach) {
  const std::size_t height = instances.shape(0), width = instances.shape(1);
  BorderDistances result;
  result.nearest = SquaredDistances::from_shape({height, width});
  result.second = result.nearest;
  result.nearest.fill(infinitely_far);
  result.second.fill(infinitely_far);
  const auto limit = static_cast<std::int64_t>(reach * reach);
  for (const auto& [number, box] : detail::instance_boxes(instances)) {
    const auto window = box.grown(reach, height, width);
    auto border = LabelArray::from_shape({window.bottom - window.top, window.right - window.left});
    border.fill(0);
    for (std::size_t y = box.top; y < box.bottom; ++y) {
      for (std::size_t x = box.left; x < box.right; ++x) {
        if (instances(y, x) == number && detail::on_border(instances, y, x))
          border(y - window.top, x - window.left) = 1;
      }
    }
    const auto squared = squared_distance_transform(border);
    for (std::size_t y = window.top; y < window.bottom; ++y) {
      for (std::size_t x = window.left; x < window.right; ++x) {
        std::int64_t distance = squared(y - window.top, x - window.left);
        if (distance > limit) continue;
        if (distance < result.nearest(y, x)) std::swap(distance, result.nearest(y, x));
        result.second(y, x) = std::min(result.second(y, x), distance);
      }
    }
  }
  return result;
}

/// The weight map (height, width) of an instance map. Where fewer than two instances are near, the border term is 0.
/// Throws ArgumentError unless sigma > 0 and w0 >= 0, DataError for a negative instance number.
inline WeightArray border_weight_map(const InstanceArray& instances, const BorderWeights& weights = {}) {
  if (!(weights.sigma > 0) || !(weights.w0 >= 0)) {
    throw ArgumentError("BorderWeights: sigma is " + std::to_string(weights.sigma) + " and w0 " +
                        std::to_string(weights.w0) + "; sigma must be positive, w0 not negative");
  }
  const double w0 = static_cast<double>(weights.w0), sigma = static_cast<double>(weights.sigma);
  // Beyond this reach the border term is below 2^-30, nothing beside a class weight in float.
  const double reach = std::min(sigma * std::sqrt(2 * std::log(std::max(w0, 1.0) * 0x1p30)),
                                static_cast<double>(instances.shape(0) + instances.shape(1)));
  const auto distances = border_distances(instances, static_cast<std::size_t>(std::ceil(reach)));
  auto map = WeightArray::from_shape({instances.shape(0), instances.shape(1)});
  for (std::size_t i = 0; i < map.size(); ++i) {
    const bool cell = instances.data()[i] != 0;
    double weight = static_cast<double>(weights.class_weights[cell ? 1 : 0]);
    if (distances.second.data()[i] != infinitely_far && !(cell && weights.background_only)) {
      const double sum = std::sqrt(static_cast<double>(distances.nearest.data()[i])) +
                         std::sqrt(static_cast<double>(distances.second.data()[i]));
      weight += w0 * std::exp(-sum * sum / (2 * sigma * sigma));
    }
    map.data()[i] = static_cast<float>(weight);
  }
  return map;
}

/// The weight map of a mask whose cells are not numbered: they are its connected components (by edges), pixels of
/// different classes apart.
inline WeightArray border_weight_map(const LabelArray& mask, const BorderWeights& weights = {}) {
  return border_weight_map(connected_components(mask, Connectivity::Four).instances, weights);
}

}  // namespace ulna
