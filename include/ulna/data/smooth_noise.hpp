// SPDX-License-Identifier: MIT
// Smooth random fields, of which synthetic images are made.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "ulna/random.hpp"

namespace ulna::detail {

/// A random function of the plane that varies over about `wavelength` pixels: standard normal values on a lattice,
/// interpolated with the smooth step 3t^2 - 2t^3. Mean 0; deviation 1 at lattice points, a little less between.
class SmoothNoise {
 public:
  /// Covers 0 <= row < height, 0 <= column < width; outside, the value of the border continues.
  SmoothNoise(int height, int width, float wavelength, Random& random)
      : scale_(1 / wavelength),
        rows_(static_cast<int>(static_cast<float>(height) * scale_) + 2),
        columns_(static_cast<int>(static_cast<float>(width) * scale_) + 2),
        lattice_(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_)) {
    for (float& value : lattice_) value = random.normal();
  }

  float operator()(float row, float column) const {
    const Place down = place(row, rows_), right = place(column, columns_);
    const float* upper = &lattice_[static_cast<std::size_t>(down.cell) * static_cast<std::size_t>(columns_) +
                                   static_cast<std::size_t>(right.cell)];
    const float* lower = upper + columns_;
    const float above = upper[0] + right.part * (upper[1] - upper[0]);
    const float below = lower[0] + right.part * (lower[1] - lower[0]);
    return above + down.part * (below - above);
  }

 private:
  struct Place {
    int cell;
    float part;
  };

  Place place(float coordinate, int count) const {
    const float position = std::fmin(std::fmax(coordinate * scale_, 0.0f), static_cast<float>(count) - 1.001f);
    const float cell = std::floor(position), t = position - cell;
    return {static_cast<int>(cell), t * t * (3 - 2 * t)};
  }

  float scale_;
  int rows_, columns_;
  std::vector<float> lattice_;
};

}  // namespace ulna::detail
