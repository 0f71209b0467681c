// SPDX-License-Identifier: MIT
// Pictures of images, label maps and errors: (height, width, 3) bytes, RGB, for write_png.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"

namespace ulna::report {

/// A colour, 0 to 255 each.
struct Rgb {
  std::uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Rgb&) const = default;
};

/// Colours that people with any colour vision tell apart (after Okabe and Ito, 2008).
namespace colour {
inline constexpr Rgb ink{34, 40, 49}, grey{120, 130, 140}, paper{255, 255, 255};
inline constexpr Rgb green{0, 158, 115}, orange{230, 120, 0}, blue{0, 114, 178}, sky{86, 180, 233}, pink{204, 121, 167},
    yellow{240, 228, 66}, red{213, 64, 30};
}  // namespace colour

namespace detail {

/// Mixes `over` into the pixel, 0 nothing to 1 all of it.
inline void blend(std::uint8_t* pixel, Rgb over, float strength) {
  const std::array<std::uint8_t, 3> channels{over.red, over.green, over.blue};
  for (std::size_t k = 0; k < 3; ++k) {
    const auto below = static_cast<float>(pixel[k]);
    pixel[k] = static_cast<std::uint8_t>(std::lround(below + strength * (static_cast<float>(channels[k]) - below)));
  }
}

template <class Array>
void require_size(const char* what, const Array& array, const PictureArray& image) {
  if (array.shape(0) == image.shape(0) && array.shape(1) == image.shape(1)) return;
  throw DataError(std::string("overlay: the ") + what + " is " + ulna::detail::size_text(array) + ", the image " +
                  std::to_string(image.shape(0)) + " x " + std::to_string(image.shape(1)) + "; they must agree");
}

}  // namespace detail

/// The picture of an image (height, width, channels), its smallest value black and its largest white (a constant image
/// is mid grey). Three channels or more: the first three are red, green and blue; else channel 0 is grey.
/// Throws DataError for an image without pixels or with NaN or infinite ones.
inline PictureArray to_picture(const ImageArray& image) {
  if (image.size() == 0) throw DataError("to_picture: the image has no pixels");
  require_finite(image, "to be shown");
  const auto [low, high] = std::minmax_element(image.data(), image.data() + image.size());
  const float black = *low, range = *high - *low;
  const std::size_t channels = image.shape(2);
  auto picture = PictureArray::from_shape({image.shape(0), image.shape(1), 3});
  for (std::size_t i = 0; i < picture.size(); ++i) {
    const std::size_t channel = channels >= 3 ? i % 3 : 0;
    const float value = range > 0 ? (image.data()[i / 3 * channels + channel] - black) / range : 0.5f;
    picture.data()[i] = static_cast<std::uint8_t>(std::lround(255 * value));
  }
  return picture;
}

/// The picture of a mask: 0 black, everything else white.
inline PictureArray mask_picture(const LabelArray& mask) {
  auto picture = PictureArray::from_shape({mask.shape(0), mask.shape(1), 3});
  for (std::size_t i = 0; i < picture.size(); ++i) picture.data()[i] = mask.data()[i / 3] != 0 ? 255 : 0;
  return picture;
}

/// The colour of a class: 0 is dark, the others go through seven colours.
constexpr Rgb class_colour(int label) {
  constexpr std::array palette{colour::sky,  colour::orange, colour::green, colour::pink,
                               colour::blue, colour::yellow, colour::red};
  return label == 0 ? colour::ink : palette[static_cast<std::size_t>(label - 1) % palette.size()];
}

/// The picture of a label map in the colours of its classes.
inline PictureArray class_picture(const LabelArray& labels) {
  auto picture = PictureArray::from_shape({labels.shape(0), labels.shape(1), 3});
  for (std::size_t i = 0; i < labels.size(); ++i) {
    detail::blend(picture.data() + 3 * i, class_colour(labels.data()[i]), 1);
  }
  return picture;
}

/// How an overlay looks.
struct OverlayStyle {
  Rgb hit{60, 200, 120};         ///< predicted and true
  Rgb false_alarm{235, 60, 30};  ///< predicted, not true
  Rgb miss{30, 110, 255};        ///< true, not predicted
  float strength = 0.75f;        ///< of the errors over the image, 0 to 1
  float hit_strength = 0.3f;     ///< of the hits, which would otherwise hide the image
};

/// The image with what was predicted of class `foreground` painted over it: hits, false alarms and misses in their
/// colours. Throws DataError when the sizes differ.
inline PictureArray overlay(const ImageArray& image, const LabelArray& prediction, const LabelArray& truth,
                            std::uint8_t foreground = 1, const OverlayStyle& style = {}) {
  auto picture = to_picture(image);
  detail::require_size("prediction", prediction, picture);
  detail::require_size("truth", truth, picture);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const bool is = prediction.data()[i] == foreground, should = truth.data()[i] == foreground;
    std::uint8_t* pixel = picture.data() + 3 * i;
    if (is && should) detail::blend(pixel, style.hit, style.hit_strength);
    if (is && !should) detail::blend(pixel, style.false_alarm, style.strength);
    if (!is && should) detail::blend(pixel, style.miss, style.strength);
  }
  return picture;
}

/// The image with the classes of a prediction painted over it (class 0 left clear), for when there is no truth.
/// Throws DataError when the sizes differ.
inline PictureArray overlay(const ImageArray& image, const LabelArray& prediction, float strength = 0.4f) {
  auto picture = to_picture(image);
  detail::require_size("prediction", prediction, picture);
  for (std::size_t i = 0; i < prediction.size(); ++i) {
    const int label = prediction.data()[i];
    if (label != 0) detail::blend(picture.data() + 3 * i, class_colour(label), strength);
  }
  return picture;
}

}  // namespace ulna::report
