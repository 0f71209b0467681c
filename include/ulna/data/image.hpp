// SPDX-License-Identifier: MIT
// The arrays of the data rooms, and the doors through which Eigen expressions and spans become such arrays.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <xtensor/xtensor.hpp>

#include "ulna/error.hpp"

namespace ulna {

/// An image, (height, width, channels), row-major.
using ImageArray = xt::xtensor<float, 3>;
/// A label map, (height, width), of class indices.
using LabelArray = xt::xtensor<std::uint8_t, 2>;
/// Loss weights of the pixels of one image, (height, width).
using WeightArray = xt::xtensor<float, 2>;
/// A picture to look at: (height, width, 1 or 3) bytes, grey or RGB.
using PictureArray = xt::xtensor<std::uint8_t, 3>;

/// A batch of images, (sample, height, width, channels).
using ImageBatch = xt::xtensor<float, 4>;
/// A batch of label maps, (sample, height, width).
using LabelBatch = xt::xtensor<std::uint8_t, 3>;
/// A batch of loss weights, (sample, height, width).
using WeightBatch = xt::xtensor<float, 3>;

/// One extent of an array as an int, the type geometry is computed in.
template <class Array>
int extent(const Array& array, std::size_t axis) {
  return static_cast<int>(array.shape(axis));
}

namespace detail {

/// "512 x 384" or "512 x 384 x 3", for messages.
template <class Array>
std::string size_text(const Array& array) {
  std::string text;
  for (std::size_t axis = 0; axis < array.dimension(); ++axis) {
    text += (axis == 0 ? "" : " x ") + std::to_string(array.shape(axis));
  }
  return text;
}

/// An array of the given extents (one an axis of the array type), checked to be positive, values uninitialised.
template <class Array, class... Extents>
Array make_array(Extents... extents) {
  static_assert(sizeof...(Extents) == std::tuple_size_v<typename Array::shape_type>, "one extent an axis");
  if (((extents <= 0) || ...)) {
    std::string text;
    ((text += (text.empty() ? "" : " x ") + std::to_string(extents)), ...);
    throw DataError("an array of " + text + " was asked for; every extent must be positive");
  }
  return Array(typename Array::shape_type{static_cast<std::size_t>(extents)...});
}

template <class Array, class Value, class... Extents>
Array array_from(std::span<const Value> values, Extents... extents) {
  auto array = make_array<Array>(extents...);
  if (values.size() != array.size()) {
    throw DataError("the span holds " + std::to_string(values.size()) + " values, but " + size_text(array) + " are " +
                    std::to_string(array.size()) + "; pass the extents of the data");
  }
  std::copy(values.begin(), values.end(), array.data());
  return array;
}

/// Copies a 2-D Eigen expression, whatever its storage order, to row-major memory.
template <class Value, class Derived>
void copy_eigen(const Eigen::DenseBase<Derived>& values, Value* out) {
  using RowMajor = Eigen::Array<Value, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<RowMajor>(out, values.rows(), values.cols()) = values.derived().array().template cast<Value>();
}

}  // namespace detail

/// An image of height x width x channels pixels, its values (row-major, channels innermost) uninitialised.
/// Throws DataError unless every extent is positive.
inline ImageArray make_image(int height, int width, int channels = 1) {
  return detail::make_array<ImageArray>(height, width, channels);
}

/// A label map of height x width pixels, values uninitialised. Throws DataError unless every extent is positive.
inline LabelArray make_labels(int height, int width) { return detail::make_array<LabelArray>(height, width); }

/// Copies row-major values (channels innermost) into an image. Throws DataError when the number of values does not fit.
inline ImageArray image_from(std::span<const float> values, int height, int width, int channels = 1) {
  return detail::array_from<ImageArray>(values, height, width, channels);
}

/// Copies a 2-D Eigen expression (rows are image rows) into an image of one channel.
template <class Derived>
ImageArray image_from(const Eigen::DenseBase<Derived>& values) {
  auto image = detail::make_array<ImageArray>(values.rows(), values.cols(), Eigen::Index{1});
  detail::copy_eigen(values, image.data());
  return image;
}

/// Copies row-major class indices into a label map. Throws DataError when the number of values does not fit.
inline LabelArray labels_from(std::span<const std::uint8_t> values, int height, int width) {
  return detail::array_from<LabelArray>(values, height, width);
}

/// Copies a 2-D Eigen expression of class indices 0..255 into a label map; another value is a DataError.
template <class Derived>
LabelArray labels_from(const Eigen::DenseBase<Derived>& values) {
  auto labels = detail::make_array<LabelArray>(values.rows(), values.cols());
  for (Eigen::Index row = 0; row < values.rows(); ++row) {
    for (Eigen::Index column = 0; column < values.cols(); ++column) {
      const auto value = static_cast<double>(values.derived().coeff(row, column));
      if (!(value >= 0 && value <= 255) || value != std::floor(value)) {
        throw DataError("labels: pixel (row " + std::to_string(row) + ", column " + std::to_string(column) + ") is " +
                        std::to_string(value) + "; class indices are whole numbers from 0 to 255");
      }
    }
  }
  detail::copy_eigen(values, labels.data());
  return labels;
}

/// Throws DataError, naming `name` and the first such pixel, when the image holds a NaN or an infinity.
inline void require_finite(const ImageArray& image, const std::string& name) {
  const float* bad = std::find_if(image.data(), image.data() + image.size(), [](float v) { return !std::isfinite(v); });
  const auto at = static_cast<std::size_t>(bad - image.data());
  if (at == image.size()) return;
  const std::size_t channels = image.shape(2), width = image.shape(1);
  throw DataError("image '" + name + "': pixel (row " + std::to_string(at / channels / width) + ", column " +
                  std::to_string(at / channels % width) + ", channel " + std::to_string(at % channels) + ") is " +
                  std::to_string(*bad) + "; every pixel must be finite");
}

}  // namespace ulna
