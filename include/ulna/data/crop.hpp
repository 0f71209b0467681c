// SPDX-License-Identifier: MIT
// The geometry of one augmented crop: where in the source image each pixel of the patch comes from.
//
// All geometric augmentations are composed into one source coordinate a pixel, so that the work is that of the crop,
// not of the image, and image, labels and weights cannot come apart. Without a continuous deformation the coordinates
// are whole numbers and pixels are copied; nothing is interpolated.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ulna/data/augmentation.hpp"
#include "ulna/data/elastic.hpp"
#include "ulna/data/sample.hpp"

namespace ulna {

/// The patch to cut out of a sample.
struct Crop {
  int height = 0, width = 0;
  /// For networks whose output is smaller than their input (valid padding): labels and weights are those of the patch's
  /// centre, without this many pixels on each side, and the patch may reach that far over the image's border
  /// (reflected, as in the U-Net paper), so that border pixels are trained on too.
  int label_margin = 0;

  int label_height() const { return height - 2 * label_margin; }
  int label_width() const { return width - 2 * label_margin; }
};

/// Mirrors an index at the borders without repeating the border pixel: -1 becomes 1.
inline int reflect_index(int index, int count) {
  if (index >= 0 && index < count) return index;
  if (count == 1) return 0;
  const int period = 2 * (count - 1);
  const int folded = (index % period + period) % period;
  return folded < count ? folded : period - folded;
}

/// Where augment writes: row-major patches of the crop's extents; weights may be null.
struct PatchView {
  float* image = nullptr;
  std::uint8_t* labels = nullptr;
  float* weights = nullptr;
};

/// The drawn geometry of one patch.
class CropGeometry {
 public:
  /// Draws a geometry for a source of the given extents. A source smaller than the crop lies inside it as a whole.
  CropGeometry(const Augmentation& options, const Crop& crop, int source_height, int source_width, Random& random)
      : crop_(crop), source_height_(source_height), source_width_(source_width) {
    draw_orientation(options, random);
    const int window_height = transpose_ ? crop.width : crop.height;
    const int window_width = transpose_ ? crop.height : crop.width;
    top_ = draw_start(options.random_crop, window_height, source_height, random);
    left_ = draw_start(options.random_crop, window_width, source_width, random);
    center_row_ = static_cast<float>(top_) + 0.5f * static_cast<float>(window_height - 1);
    center_column_ = static_cast<float>(left_) + 0.5f * static_cast<float>(window_width - 1);
    draw_deformation(options, random);
  }

  /// Whether every pixel of the patch is a pixel of the source.
  bool exact() const { return !deformed_; }

  /// Fills the patch from the sample: the image bilinearly, labels and weights from the nearest pixel.
  void apply(const Sample& sample, const PatchView& patch) const {
    if (exact()) {
      copy_pixels(sample, patch);
    } else {
      interpolate_pixels(sample, patch);
    }
  }

 private:
  // Patch -> window is: mirror rows, mirror columns, transpose. These three generate all flips and quarter turns.
  void draw_orientation(const Augmentation& options, Random& random) {
    const int quarter_turns = options.right_angles ? random.below(4) : 0;
    transpose_ = quarter_turns % 2 == 1;
    mirror_rows_ = quarter_turns == 1 || quarter_turns == 2;
    mirror_columns_ = quarter_turns == 2 || quarter_turns == 3;
    if (options.flip_vertical && random.chance(0.5f)) mirror_rows_ = !mirror_rows_;
    if (options.flip_horizontal && random.chance(0.5f)) mirror_columns_ = !mirror_columns_;
  }

  /// The first row (or column) of the window: the part with labels lies inside the source, or, if larger, around it.
  int draw_start(bool at_random, int window, int source, Random& random) const {
    const int slack = source - window;
    const auto [first, last] = std::minmax({-crop_.label_margin, slack + crop_.label_margin});
    return at_random ? first + random.below(last - first + 1) : (slack - (slack & 1)) / 2;
  }

  void draw_deformation(const Augmentation& options, Random& random) {
    if (options.rotation > 0) {
      const float angle = random.uniform(-options.rotation, options.rotation) * std::numbers::pi_v<float> / 180;
      cosine_ = std::cos(angle);
      sine_ = std::sin(angle);
      deformed_ = true;
    }
    if (options.scaling > 0) {
      const float zoom = random.uniform(1 - options.scaling, 1 + options.scaling);
      cosine_ /= zoom;
      sine_ /= zoom;
      deformed_ = true;
    }
    if (options.elastic_probability > 0 && random.chance(options.elastic_probability)) {
      field_.emplace(crop_.height, crop_.width, options.elastic_grid, options.elastic_sigma, random);
      deformed_ = true;
    }
  }

  /// The source pixel of patch pixel (r, c) has index row_part[r] + column_part[c]: orientations are separable.
  void copy_pixels(const Sample& sample, const PatchView& patch) const {
    const auto along_rows = [&](int i) {
      return std::ptrdiff_t{reflect_index(top_ + i, source_height_)} * source_width_;
    };
    const auto along_columns = [&](int i) { return std::ptrdiff_t{reflect_index(left_ + i, source_width_)}; };
    std::vector<std::ptrdiff_t> row_part(static_cast<std::size_t>(crop_.height));
    std::vector<std::ptrdiff_t> column_part(static_cast<std::size_t>(crop_.width));
    for (int row = 0; row < crop_.height; ++row) {
      const int i = mirror_rows_ ? crop_.height - 1 - row : row;
      row_part[static_cast<std::size_t>(row)] = transpose_ ? along_columns(i) : along_rows(i);
    }
    for (int column = 0; column < crop_.width; ++column) {
      const int i = mirror_columns_ ? crop_.width - 1 - column : column;
      column_part[static_cast<std::size_t>(column)] = transpose_ ? along_rows(i) : along_columns(i);
    }
    const auto gather = [&](const auto* source, std::size_t channels, int margin, auto* out) {
      const auto last_row = row_part.end() - margin;
      const auto last_column = column_part.end() - margin;
      for (auto row = row_part.begin() + margin; row != last_row; ++row) {
        for (auto column = column_part.begin() + margin; column != last_column; ++column, out += channels) {
          std::copy_n(source + (*row + *column) * static_cast<std::ptrdiff_t>(channels), channels, out);
        }
      }
    };
    gather(sample.image.data(), sample.image.shape(2), 0, patch.image);
    gather(sample.labels.data(), 1, crop_.label_margin, patch.labels);
    if (patch.weights != nullptr) gather(sample.weights.data(), 1, crop_.label_margin, patch.weights);
  }

  void interpolate_pixels(const Sample& sample, const PatchView& patch) const {
    std::vector<ElasticField::Vector> at(static_cast<std::size_t>(crop_.width));  // displacements, then coordinates
    float* image = patch.image;
    std::uint8_t* labels = patch.labels;
    float* weights = patch.weights;
    const int margin = crop_.label_margin;
    for (int row = 0; row < crop_.height; ++row) {
      locate_row(row, at);
      for (const auto& point : at) image = sample_bilinear(sample.image, point, image);
      if (row < margin || row >= crop_.height - margin) continue;
      for (auto point = at.begin() + margin; point != at.end() - margin; ++point) {
        const std::size_t pixel = nearest(*point);
        *labels++ = sample.labels.data()[pixel];
        if (weights != nullptr) *weights++ = sample.weights.data()[pixel];
      }
    }
  }

  /// The source coordinates of the pixels of one patch row.
  void locate_row(int row, std::vector<ElasticField::Vector>& at) const {
    std::fill(at.begin(), at.end(), ElasticField::Vector{});
    if (field_) field_->row(row, at.data());
    const float base_row = static_cast<float>(row) - 0.5f * static_cast<float>(crop_.height - 1);
    float base_column = -0.5f * static_cast<float>(crop_.width - 1);
    for (auto& point : at) {
      const float y = base_row + point.row, x = base_column + point.column;
      float down = cosine_ * y - sine_ * x, right = sine_ * y + cosine_ * x;
      if (mirror_rows_) down = -down;
      if (mirror_columns_) right = -right;
      if (transpose_) std::swap(down, right);
      point = {center_row_ + down, center_column_ + right};
      base_column += 1;
    }
  }

  std::size_t index(int row, int column) const {
    return static_cast<std::size_t>(reflect_index(row, source_height_)) * static_cast<std::size_t>(source_width_) +
           static_cast<std::size_t>(reflect_index(column, source_width_));
  }

  std::size_t nearest(const ElasticField::Vector& point) const {
    return index(static_cast<int>(std::floor(point.row + 0.5f)), static_cast<int>(std::floor(point.column + 0.5f)));
  }

  /// Writes the channels at a point and returns the place behind them.
  float* sample_bilinear(const ImageArray& image, const ElasticField::Vector& point, float* out) const {
    const float floor_row = std::floor(point.row), floor_column = std::floor(point.column);
    const float down = point.row - floor_row, right = point.column - floor_column;
    const int row = static_cast<int>(floor_row), column = static_cast<int>(floor_column);
    const std::size_t channels = image.shape(2);
    const float* upper_left = image.data() + index(row, column) * channels;
    const float* upper_right = image.data() + index(row, column + 1) * channels;
    const float* lower_left = image.data() + index(row + 1, column) * channels;
    const float* lower_right = image.data() + index(row + 1, column + 1) * channels;
    for (std::size_t channel = 0; channel < channels; ++channel) {
      const float upper = (1 - right) * upper_left[channel] + right * upper_right[channel];
      const float lower = (1 - right) * lower_left[channel] + right * lower_right[channel];
      *out++ = (1 - down) * upper + down * lower;
    }
    return out;
  }

  Crop crop_;
  int source_height_, source_width_;
  bool transpose_ = false, mirror_rows_ = false, mirror_columns_ = false;
  int top_ = 0, left_ = 0;  // of the window in the source
  float center_row_ = 0, center_column_ = 0;
  float cosine_ = 1, sine_ = 0;  // of the rotation, over the zoom
  std::optional<ElasticField> field_;
  bool deformed_ = false;
};

}  // namespace ulna
