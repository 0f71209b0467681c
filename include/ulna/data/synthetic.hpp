// SPDX-License-Identifier: MIT
// Images that need no download: textured cells parted by thin membranes, in the manner of electron microscopy of
// tissue.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "ulna/data/sample.hpp"
#include "ulna/data/smooth_noise.hpp"
#include "ulna/error.hpp"
#include "ulna/random.hpp"

namespace ulna {

namespace detail {

/// The cells: a Voronoi diagram of jittered lattice points in which some neighbours are merged, looked at through a
/// smooth warp, so that cells differ in size and their walls are curved.
class CellMap {
 public:
  struct Point {
    int cell = 0;     ///< an id
    float depth = 0;  ///< distance to the nearest wall, pixels
  };

  CellMap(int height, int width, Random& random)
      : rows_(static_cast<int>(static_cast<float>(height) / spacing) + 2 * border),
        columns_(static_cast<int>(static_cast<float>(width) / spacing) + 2 * border),
        wide_down_(height, width, 48, random),
        wide_right_(height, width, 48, random),
        fine_down_(height, width, 11, random),
        fine_right_(height, width, 11, random) {
    for (int row = 0; row < rows_; ++row) {
      for (int column = 0; column < columns_; ++column) draw_site(row, column, random);
    }
  }

  int cells() const { return static_cast<int>(sites_.size()); }

  Point at(float row, float column) const {
    const float y = row + 7 * wide_down_(row, column) + 1.2f * fine_down_(row, column);
    const float x = column + 7 * wide_right_(row, column) + 1.2f * fine_right_(row, column);
    const int site_row = static_cast<int>(std::floor(y / spacing)) + border;
    const int site_column = static_cast<int>(std::floor(x / spacing)) + border;
    const Site* nearest = nullptr;
    for_neighbours(site_row, site_column, [&](const Site& site) {
      if (nearest == nullptr || squared(site, y, x) < squared(*nearest, y, x)) nearest = &site;
    });
    if (nearest == nullptr) return {};  // the warp left the map by far
    float depth = spacing;
    for_neighbours(site_row, site_column, [&](const Site& site) {
      if (site.cell == nearest->cell) return;
      // Distance to the bisector of two sites: (d1^2 - d0^2) / (2 |s1 - s0|).
      const float apart = std::hypot(site.row - nearest->row, site.column - nearest->column);
      depth = std::min(depth, (squared(site, y, x) - squared(*nearest, y, x)) / (2 * apart));
    });
    return {nearest->cell, depth};
  }

 private:
  struct Site {
    float row, column;
    int cell;
  };

  static constexpr float spacing = 31;
  static constexpr int border = 3;

  void draw_site(int row, int column, Random& random) {
    const int own = static_cast<int>(sites_.size());
    const float kind = random.uniform();
    int cell = own;
    if (column > 0 && kind < 0.25f) cell = sites_[static_cast<std::size_t>(own - 1)].cell;
    if (row > 0 && kind > 0.75f) cell = sites_[static_cast<std::size_t>(own - columns_)].cell;
    const auto place = [&](int index) {
      return (static_cast<float>(index - border) + random.uniform(0.1f, 0.9f)) * spacing;
    };
    const float y = place(row), x = place(column);
    sites_.push_back({y, x, cell});
  }

  static float squared(const Site& site, float row, float column) {
    return (site.row - row) * (site.row - row) + (site.column - column) * (site.column - column);
  }

  template <class F>
  void for_neighbours(int row, int column, F f) const {
    for (int r = std::max(row - 2, 0); r <= std::min(row + 2, rows_ - 1); ++r) {
      for (int c = std::max(column - 2, 0); c <= std::min(column + 2, columns_ - 1); ++c) {
        f(sites_[static_cast<std::size_t>(r) * static_cast<std::size_t>(columns_) + static_cast<std::size_t>(c)]);
      }
    }
  }

  int rows_, columns_;
  SmoothNoise wide_down_, wide_right_, fine_down_, fine_right_;
  std::vector<Site> sites_;
};

/// Darkens elliptic organelles that lie well inside cells: filled, or a ring with stripes inside like a mitochondrion.
inline void draw_organelles(ImageArray& image, const std::vector<float>& depth, Random& random) {
  const int height = extent(image, 0), width = extent(image, 1);
  const int count = height * width / 350;
  for (int i = 0; i < count; ++i) {
    const int row = random.below(height), column = random.below(width);
    const float room =
        depth[static_cast<std::size_t>(row) * static_cast<std::size_t>(width) + static_cast<std::size_t>(column)] -
        3.0f;
    const float radius = std::min(random.uniform(2.0f, 11.0f), room);
    const float squash = random.uniform(0.55f, 1.0f), angle = random.uniform(0.0f, 3.14159f);
    const float darkness = random.uniform(35.0f, 85.0f), phase = random.uniform(0.0f, 6.28f);
    const bool ring = random.chance(0.45f);
    if (radius < 1.8f) continue;
    const int reach = static_cast<int>(radius) + 2;
    for (int r = std::max(row - reach, 0); r <= std::min(row + reach, height - 1); ++r) {
      for (int c = std::max(column - reach, 0); c <= std::min(column + reach, width - 1); ++c) {
        const auto down = static_cast<float>(r - row), right = static_cast<float>(c - column);
        const float u = std::cos(angle) * down + std::sin(angle) * right;
        const float v = (std::cos(angle) * right - std::sin(angle) * down) / squash;
        const float inside = radius - std::hypot(u, v);  // pixels from the rim inwards
        const float cover = std::clamp(inside + 0.5f, 0.0f, 1.0f);
        const float stripes = inside < 1.6f ? 1.0f : 0.4f + 0.6f * std::sin(1.6f * u + phase);
        image(static_cast<std::size_t>(r), static_cast<std::size_t>(c), 0) -=
            darkness * cover * (ring ? stripes : 1.0f);
      }
    }
  }
}

/// Blurs rows and columns with (1 2 1) / 4, the point spread of the imaginary microscope.
inline void blur_binomial(ImageArray& image) {
  const int height = extent(image, 0), width = extent(image, 1);
  const auto pass = [&](std::ptrdiff_t lines, std::ptrdiff_t length, std::ptrdiff_t line_stride,
                        std::ptrdiff_t stride) {
    std::vector<float> line(static_cast<std::size_t>(length));
    const auto at = [&](std::ptrdiff_t i) {
      return line[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(i, 0, length - 1))];
    };
    for (std::ptrdiff_t i = 0; i < lines; ++i) {
      float* const first = image.data() + i * line_stride;
      for (std::ptrdiff_t j = 0; j < length; ++j) line[static_cast<std::size_t>(j)] = first[j * stride];
      for (std::ptrdiff_t j = 0; j < length; ++j) {
        first[j * stride] = 0.25f * (at(j - 1) + at(j + 1)) + 0.5f * at(j);
      }
    }
  };
  pass(height, width, width, 1);
  pass(width, height, 1, width);
}

}  // namespace detail

/// A synthetic micrograph with its labels: 1 = membrane (about a fifth of the pixels), 0 = cell. One channel, whole
/// values 0..255. Cells differ in brightness as much as membranes stand out, are textured, and hold dark organelles;
/// membranes fade in places, the illumination drifts, noise covers all: grey value alone decides little (Otsu's
/// threshold does worse than "no membrane anywhere"), shape decides. The same (height, width, seed, index) always gives
/// the same sample. Throws ArgumentError unless height and width are from 16 to 8192 pixels.
inline Sample synthetic_cells(int height, int width, Seed seed, std::uint64_t index = 0) {
  if (std::min(height, width) < 16 || std::max(height, width) > 8192) {
    throw ArgumentError("a synthetic image of " + std::to_string(height) + " x " + std::to_string(width) +
                        " was asked for; height and width must be from 16 to 8192");
  }
  Random random(seed, index, 0x5CE11u);
  const detail::CellMap cells(height, width, random);
  std::vector<float> brightness(static_cast<std::size_t>(cells.cells()));
  std::vector<float> roughness(brightness.size());
  for (float& value : brightness) value = 162 + 20 * random.normal();
  for (float& value : roughness) value = random.uniform(7.0f, 20.0f);
  const detail::SmoothNoise coarse(height, width, 9, random), fine(height, width, 3.2f, random);
  const detail::SmoothNoise fading(height, width, 17, random), drift(height, width, 160, random);
  const float thickness = random.uniform(1.9f, 2.3f);  // half of it, pixels

  Sample sample{"cells_" + std::to_string(index), make_image(height, width), make_labels(height, width), {}};
  std::vector<float> depth(sample.labels.size());
  std::size_t pixel = 0;
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column, ++pixel) {
      const auto y = static_cast<float>(row), x = static_cast<float>(column);
      const auto point = cells.at(y, x);
      const auto cell = static_cast<std::size_t>(point.cell);
      const float texture = roughness[cell] * (0.6f * coarse(y, x) + fine(y, x));
      const float strength = std::clamp(62 + 34 * fading(y, x), 10.0f, 100.0f);
      const float wall = strength * std::exp(-std::pow(point.depth / (0.75f * thickness), 2.0f));
      depth[pixel] = point.depth;
      sample.labels.data()[pixel] = point.depth < thickness ? 1 : 0;
      sample.image.data()[pixel] = brightness[cell] + texture + 13 * drift(y, x) - wall;
    }
  }
  detail::draw_organelles(sample.image, depth, random);
  detail::blur_binomial(sample.image);
  std::for_each(sample.image.data(), sample.image.data() + sample.image.size(),
                [&](float& value) { value = std::clamp(std::round(value + 9 * random.normal()), 0.0f, 255.0f); });
  return sample;
}

}  // namespace ulna
