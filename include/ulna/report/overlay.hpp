// SPDX-License-Identifier: MIT
// Pictures of images and label maps. All are RGB, (height, width, 3) bytes; write_png of ulna/data/image_file.hpp
// writes them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ulna/data/image.hpp"
#include "ulna/report/palette.hpp"

namespace ulna {

namespace detail {

/// How much of an overlay's pixel is the colour of its class; the rest is the image, whose texture stays visible.
inline constexpr double overlay_opacity = 0.5;

inline PictureArray make_picture(int height, int width) { return make_array<PictureArray>(height, width, 3); }

inline void set_pixel(PictureArray& picture, std::size_t pixel, Rgb colour) {
  std::uint8_t* bytes = picture.data() + 3 * pixel;
  bytes[0] = colour.red, bytes[1] = colour.green, bytes[2] = colour.blue;
}

inline void blend_pixel(PictureArray& picture, std::size_t pixel, Rgb colour) {
  const std::uint8_t* bytes = picture.data() + 3 * pixel;
  set_pixel(picture, pixel, mix(Rgb{bytes[0], bytes[1], bytes[2]}, colour, overlay_opacity));
}

/// The 1st and the 99th percentile; where they coincide (a few bright dots on black), the smallest and the largest.
inline std::pair<double, double> contrast_range(const ImageArray& image) {
  std::vector<float> values(image.data(), image.data() + image.size());
  const auto at = [&values](std::size_t rank) {
    const auto place = values.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(values.begin(), place, values.end());
    return double{*place};
  };
  const std::size_t last = values.size() - 1;
  const std::pair<double, double> percentiles{at(last / 100), at(last - last / 100)};
  return percentiles.first < percentiles.second ? percentiles : std::pair<double, double>{at(0), at(last)};
}

inline void require_same_size(const std::string& a_name, const auto& a, const std::string& b_name, const auto& b) {
  if (a.shape(0) == b.shape(0) && a.shape(1) == b.shape(1)) return;
  throw DataError(a_name + " is " + size_text(a) + " and " + b_name + " is " + size_text(b) +
                  "; height and width must agree");
}

inline void require_classes(const LabelArray& labels, int classes) {
  if (classes < 2 || classes > 256) {
    throw ArgumentError("a label map was said to have " + std::to_string(classes) + " classes; there can be 2 to 256");
  }
  const std::uint8_t* end = labels.data() + labels.size();
  const std::uint8_t* bad = std::find_if(static_cast<const std::uint8_t*>(labels.data()), end,
                                         [classes](std::uint8_t label) { return label >= classes; });
  if (bad == end) return;
  const auto at = static_cast<std::size_t>(bad - labels.data());
  throw DataError("labels: pixel (row " + std::to_string(at / labels.shape(1)) + ", column " +
                  std::to_string(at % labels.shape(1)) + ") is " + std::to_string(*bad) + "; of " +
                  std::to_string(classes) + " classes the largest index is " + std::to_string(classes - 1));
}

}  // namespace detail

/// The image with its contrast stretched: the 1st percentile of its values becomes 0, the 99th 255. The channels of an
/// RGB image are stretched together, so that hues stay. A constant image becomes mid-grey.
/// Throws DataError unless the image has 1 or 3 channels, some pixels, and only finite values.
inline PictureArray grey_picture(const ImageArray& image) {
  const std::size_t channels = image.shape(2);
  if (image.size() == 0 || (channels != 1 && channels != 3)) {
    throw DataError("an image of " + detail::size_text(image) +
                    " cannot be shown; it must be height x width x 1 (grey) or 3 (RGB)");
  }
  require_finite(image, "to be shown");
  const auto [low, high] = detail::contrast_range(image);
  auto picture = detail::make_picture(extent(image, 0), extent(image, 1));
  for (std::size_t i = 0; i < picture.size(); ++i) {
    const auto value = static_cast<double>(image.data()[channels == 3 ? i : i / 3]);
    const double stretched = high > low ? (value - low) / (high - low) : 0.5;
    picture.data()[i] = static_cast<std::uint8_t>(std::clamp(stretched, 0.0, 1.0) * 255 + 0.5);
  }
  return picture;
}

/// What a prediction got right and wrong, over the grey image: found pixels green, false alarms red, missed ones blue.
/// Every class but 0 counts as foreground. Throws DataError, naming the sizes, when they differ.
inline PictureArray comparison_overlay(const ImageArray& image, const LabelArray& prediction, const LabelArray& truth) {
  detail::require_same_size("the image", image, "the prediction", prediction);
  detail::require_same_size("the image", image, "the truth", truth);
  auto picture = grey_picture(image);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const bool predicted = prediction.data()[i] != 0, present = truth.data()[i] != 0;
    if (predicted && present) {
      detail::blend_pixel(picture, i, found_colour);
    } else if (predicted) {
      detail::blend_pixel(picture, i, false_alarm_colour);
    } else if (present) {
      detail::blend_pixel(picture, i, missed_colour);
    }
  }
  return picture;
}

/// The classes over the grey image, class k in palette_colour(k - 1); the background, class 0, stays as it is.
/// Throws DataError when the sizes differ or a label is not below `classes`; ArgumentError unless that is 2 to 256.
inline PictureArray class_overlay(const ImageArray& image, const LabelArray& labels, int classes) {
  detail::require_same_size("the image", image, "the label map", labels);
  detail::require_classes(labels, classes);
  auto picture = grey_picture(image);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels.data()[i] != 0) detail::blend_pixel(picture, i, palette_colour(labels.data()[i] - 1));
  }
  return picture;
}

/// The label map alone: class 0 black; of two classes the other white, of more class k in palette_colour(k - 1).
/// Throws DataError when a label is not below `classes`; ArgumentError unless that is 2 to 256.
inline PictureArray label_picture(const LabelArray& labels, int classes) {
  detail::require_classes(labels, classes);
  auto picture = detail::make_picture(extent(labels, 0), extent(labels, 1));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::uint8_t label = labels.data()[i];
    const Rgb colour = classes == 2 ? Rgb{255, 255, 255} : palette_colour(label - 1);
    detail::set_pixel(picture, i, label == 0 ? Rgb{} : colour);
  }
  return picture;
}

}  // namespace ulna
