// SPDX-License-Identifier: MIT
// The exact Euclidean distance of every pixel to the nearest pixel of a set, in linear time: Felzenszwalb and
// Huttenlocher, "Distance transforms of sampled functions" (Theory of Computing 8, 2012).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "ulna/data/image.hpp"

namespace ulna {

/// Squared distances in pixels, (height, width); exact, since they are whole numbers.
using SquaredDistances = xt::xtensor<std::int64_t, 2>;

/// The squared distance where there is nothing to be distant from.
inline constexpr std::int64_t infinitely_far = std::numeric_limits<std::int64_t>::max();

namespace detail {

/// The lower envelope of parabolas, out[x] = min over q of f[q] + (x - q)^2, for every x of a line.
class ParabolaEnvelope {
 public:
  explicit ParabolaEnvelope(std::size_t longest) : centre_(longest), from_(longest) {}

  /// `out` must not overlap `f`. Entries of f that are infinitely_far have no parabola.
  void lower(std::span<const std::int64_t> f, std::span<std::int64_t> out) {
    std::size_t parabolas = 0;
    const auto length = static_cast<std::int64_t>(f.size());
    for (std::int64_t q = 0; q < length; ++q) {
      if (f[at(q)] == infinitely_far) continue;
      std::int64_t from = 0;
      while (parabolas > 0) {
        from = first_below(f, centre_[parabolas - 1], q);
        if (from > from_[parabolas - 1]) break;
        --parabolas;  // q lies below it wherever it was lowest
        from = 0;
      }
      if (from >= length) continue;
      centre_[parabolas] = q;
      from_[parabolas++] = from;
    }
    std::size_t k = 0;
    for (std::int64_t x = 0; x < length; ++x) {
      while (k + 1 < parabolas && from_[k + 1] <= x) ++k;
      out[at(x)] = parabolas == 0 ? infinitely_far : f[at(centre_[k])] + (x - centre_[k]) * (x - centre_[k]);
    }
  }

 private:
  static std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

  /// The first whole x, 0 or more, at which q's parabola lies below v's, v < q:
  /// x > ((f(q) + q^2) - (f(v) + v^2)) / (2 q - 2 v).
  static std::int64_t first_below(std::span<const std::int64_t> f, std::int64_t v, std::int64_t q) {
    const std::int64_t rise = (f[at(q)] + q * q) - (f[at(v)] + v * v);
    return rise < 0 ? 0 : rise / (2 * (q - v)) + 1;
  }

  std::vector<std::int64_t> centre_;  // of the k-th parabola of the envelope
  std::vector<std::int64_t> from_;    // the first x where it is the lowest
};

}  // namespace detail

/// The squared Euclidean distance of every pixel to the nearest pixel of `mask` (height, width) that is not 0: 0 there,
/// infinitely_far everywhere when there is none.
inline SquaredDistances squared_distance_transform(const LabelArray& mask) {
  const std::size_t height = mask.shape(0), width = mask.shape(1);
  auto squared = SquaredDistances::from_shape({height, width});
  std::vector<std::int64_t> line(std::max(height, width)), lowest(height);
  detail::ParabolaEnvelope envelope(line.size());
  const std::span column(line.data(), height), row(line.data(), width);
  for (std::size_t x = 0; x < width; ++x) {
    for (std::size_t y = 0; y < height; ++y) column[y] = mask(y, x) != 0 ? 0 : infinitely_far;
    envelope.lower(column, lowest);
    for (std::size_t y = 0; y < height; ++y) squared(y, x) = lowest[y];
  }
  for (std::size_t y = 0; y < height; ++y) {
    const std::span out(squared.data() + y * width, width);
    std::copy(out.begin(), out.end(), row.begin());
    envelope.lower(row, out);
  }
  return squared;
}

}  // namespace ulna
