// SPDX-License-Identifier: MIT
// The door between a user's arrays and the arena: any row-major array of the right sizes, checked and copied in.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ulna/backend/tensor.hpp"
#include "ulna/error.hpp"

namespace ulna {

/// A dense batch in (sample, row, column, channel) order that somebody else owns.
template <class T>
struct BatchView {
  const T* data = nullptr;
  int batch = 0;
  int height = 0;
  int width = 0;
  int channels = 1;

  BatchView() = default;
  BatchView(const T* pointer, int n, int h, int w, int c = 1)
      : data(pointer), batch(n), height(h), width(w), channels(c) {}

  BatchView(std::span<const T> values, int n, int h, int w, int c = 1) : BatchView(values.data(), n, h, w, c) {
    const std::size_t needed = size();
    if (values.size() != needed)
      throw DataError("batch: the span holds " + std::to_string(values.size()) + " values, " + std::to_string(n) +
                      " x " + std::to_string(h) + " x " + std::to_string(w) + " x " + std::to_string(c) + " needs " +
                      std::to_string(needed));
  }

  /// Any row-major array with `data()` and `shape()` of 3 or 4 axes (xtensor): samples, rows, columns, channels.
  template <class Array>
  requires requires(const Array& a) {
    a.shape().size();
    a.shape()[0];
    { a.data() } -> std::convertible_to<const T*>;
  }
  BatchView(const Array& array) : data(array.data()) {  // NOLINT(google-explicit-constructor): arrays are views
    const auto& shape = array.shape();
    if (shape.size() < 3 || shape.size() > 4)
      throw DataError("batch: the array has " + std::to_string(shape.size()) +
                      " axes; give (sample, row, column) or (sample, row, column, channel)");
    batch = static_cast<int>(shape[0]);
    height = static_cast<int>(shape[1]);
    width = static_cast<int>(shape[2]);
    channels = shape.size() == 4 ? static_cast<int>(shape[3]) : 1;
  }

  std::size_t size() const {
    return static_cast<std::size_t>(batch) * static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
           static_cast<std::size_t>(channels);
  }
};

using ImagesView = BatchView<float>;
using LabelsView = BatchView<std::uint8_t>;

namespace detail {

inline std::string size_text(int height, int width, int channels) {
  return std::to_string(height) + " x " + std::to_string(width) + " x " + std::to_string(channels);
}

/// Refuses a batch whose extents are not those the network was compiled for.
template <class T>
void require_shape(const BatchView<T>& view, const Shape& shape, int max_batch, const char* what) {
  if (view.height != shape.height || view.width != shape.width || view.channels != shape.channels)
    throw DataError(std::string(what) + ": found " + size_text(view.height, view.width, view.channels) +
                    " (height x width x channels), the network was compiled for " +
                    size_text(shape.height, shape.width, shape.channels));
  if (view.batch < 1 || view.batch > max_batch)
    throw DataError(std::string(what) + ": found a batch of " + std::to_string(view.batch) +
                    ", this object was made for 1 to " + std::to_string(max_batch));
}

inline std::string position_text(std::size_t index, int height, int width, int channels) {
  const auto c = static_cast<std::size_t>(channels);
  const std::size_t pixel = index / c;
  const auto w = static_cast<std::size_t>(width);
  const auto h = static_cast<std::size_t>(height);
  return "sample " + std::to_string(pixel / (w * h)) + ", row " + std::to_string(pixel / w % h) + ", column " +
         std::to_string(pixel % w) + ", channel " + std::to_string(index % c);
}

/// Copies finite values in; refuses NaN and infinity.
template <class T>
void stage_finite(const BatchView<float>& from, Tensor<T> to, const char* what) {
  const std::size_t n = from.size();
  float poison = 0.0f;  // x - x is 0 unless x is NaN or infinite: one branch for the whole batch
  for (std::size_t i = 0; i < n; ++i) {
    poison += from.data[i] - from.data[i];
    to.data[i] = static_cast<T>(from.data[i]);
  }
  if (poison == 0.0f) return;
  for (std::size_t i = 0; i < n; ++i)
    if (!std::isfinite(from.data[i]))
      throw DataError(std::string(what) + ": found " + std::to_string(from.data[i]) + " at " +
                      position_text(i, from.height, from.width, from.channels) + "; every value must be finite");
}

/// Copies loss weights in; refuses those that are negative or not finite.
template <class T>
void stage_weights(const BatchView<float>& from, Tensor<T> to) {
  stage_finite(from, to, "pixel weights");
  const std::size_t n = from.size();
  float smallest = 0.0f;
  for (std::size_t i = 0; i < n; ++i) smallest = from.data[i] < smallest ? from.data[i] : smallest;
  if (smallest == 0.0f) return;
  for (std::size_t i = 0; i < n; ++i)
    if (from.data[i] < 0.0f)
      throw DataError("pixel weights: found " + std::to_string(from.data[i]) + " at " +
                      position_text(i, from.height, from.width, 1) + "; weights must not be negative");
}

/// Copies class indices in; refuses those that the network has no class for.
template <class T>
void stage_labels(const BatchView<std::uint8_t>& from, Tensor<T> to, int classes) {
  const std::size_t n = from.size();
  int largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    largest = from.data[i] > largest ? from.data[i] : largest;
    to.data[i] = static_cast<T>(from.data[i]);
  }
  if (largest < classes) return;
  for (std::size_t i = 0; i < n; ++i)
    if (from.data[i] >= classes)
      throw DataError("labels: found class " + std::to_string(from.data[i]) + " at " +
                      position_text(i, from.height, from.width, 1) + "; the network has classes 0 to " +
                      std::to_string(classes - 1));
}

}  // namespace detail
}  // namespace ulna
