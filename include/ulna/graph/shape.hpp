// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace ulna {

/// Three spatial extents, in pixels. Depth is 1 for images.
struct Extent {
  int depth = 1;
  int height = 1;
  int width = 1;

  constexpr bool operator==(const Extent&) const = default;
  constexpr std::int64_t volume() const { return std::int64_t{depth} * height * width; }
};

/// Channels and spatial extents of one sample. The batch is a run-time number and never part of a shape.
struct Shape {
  int channels = 0;
  int depth = 1;
  int height = 1;
  int width = 1;

  constexpr bool operator==(const Shape&) const = default;
  constexpr Extent extent() const { return {depth, height, width}; }
  constexpr std::int64_t pixels() const { return std::int64_t{depth} * height * width; }
  constexpr std::int64_t size() const { return pixels() * channels; }
};

constexpr Shape shape_of(int channels, Extent extent) { return {channels, extent.depth, extent.height, extent.width}; }

}  // namespace ulna
