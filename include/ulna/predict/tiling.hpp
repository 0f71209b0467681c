// SPDX-License-Identifier: MIT
// Where tiles go. The overlap-tile strategy of the U-Net paper, with a halo known at compile time.
//
// One axis, in output pixels. A network maps a tile of `input` pixels to `output` pixels, border = (input - output) / 2
// of each side being eaten by valid convolutions (0 with padding). Of the output, the pixels nearer than `rim` to a
// tile edge that is not an image edge are wrong, because padding stood where the image goes on; rim = halo - border,
// rounded up to the alignment. (Where a backend computes outputs in blocks, as Winograd does, their bits depend on more
// than their windows: it states its own halo and alignment.) Tiles start at multiples of the alignment, so that every
// pooling window falls on the same pixels as in the whole image. The image is extended by mirroring to the nearest
// length that tiles of these steps can end at.
#pragma once

#include <algorithm>

#include "ulna/graph/analyse.hpp"
#include "ulna/graph/lower.hpp"

namespace ulna {

/// The tiles of one axis.
struct TileAxis {
  int input = 0;   ///< extent of a tile going in
  int output = 0;  ///< extent of a tile coming out
  int alignment = 1;
  int rim = 0;
  int length = 0;    ///< of the image
  int extended = 0;  ///< of the image after mirroring its end, at least `output`

  constexpr TileAxis(int tile_input, int tile_output, int align, int halo, int image_length)
      : input(tile_input), output(tile_output), alignment(align), length(image_length) {
    const int wrong = halo - border();
    rim = (wrong + alignment - 1) / alignment * alignment;
    const int beyond = std::max(0, length - output);
    extended = output + (beyond + alignment - 1) / alignment * alignment;
  }

  constexpr int border() const { return (input - output) / 2; }
  /// Pixels by which tiles advance, a multiple of the alignment; not positive if tiles are too small for the halo.
  constexpr int step() const { return (output - 2 * rim) / alignment * alignment; }
  constexpr bool fits_in_one() const { return extended == output; }
  constexpr int tiles() const {
    if (fits_in_one()) return 1;
    return 1 + (extended - output + step() - 1) / step();
  }
  /// First output pixel of tile i. The last tile is moved back to end with the image.
  constexpr int start(int i) const { return std::min(i * step(), extended - output); }
  /// The output pixels [first, last) that tile i contributes; together they cover the image once.
  constexpr int first(int i) const { return i == 0 ? 0 : start(i - 1) + output - rim; }
  constexpr int last(int i) const { return std::min(length, i + 1 == tiles() ? extended : start(i) + output - rim); }
};

/// Index i mirrored into [0, n) without repeating the edge: -1 -> 1, n -> n - 2, and so on for any distance.
constexpr int mirrored(int i, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - i;
}

namespace detail {
template <class B>
struct TileBackendOf {
  using type = B;
};
template <class B>
requires requires { typename B::Tiles; }
struct TileBackendOf<B> {
  using type = typename B::Tiles;
};

template <class B>
struct FootprintOf {
  using type = WindowFootprint;
};
template <class B>
requires requires { typename B::Footprint; }
struct FootprintOf<B> {
  using type = typename B::Footprint;
};
}  // namespace detail

/// What computes tiles on backend B: B itself, or what it states where its own bits depend on the extent of a map, or
/// on so much of it that tiles would overlap far.
template <class B>
using TileBackend = typename detail::TileBackendOf<B>::type;

/// What exact tiles of program P need on backend B.
template <class P, class B>
struct Tiling {
  using Footprint = typename detail::FootprintOf<TileBackend<B>>::type;
  static constexpr int alignment = alignment_of<Footprint>(P::inference.graph);
  static constexpr Halo halo = halo_of<Footprint>(P::inference.graph);
};

/// A good tile extent along an axis for the network of program P on backend B: about five halos of P wide, so that two
/// thirds of an axis are useful; where the backend needs a wider halo, at least four of those (half of an axis). It
/// differs from the extent of P by a multiple of the alignment, so it breaks no rule that P keeps.
template <class P, class B = void>
constexpr int default_tile(Axis axis) {
  const int extent = along(P::input_shape.extent(), axis);
  const int halos = std::max(5 * P::halo.pixels, 4 * Tiling<P, B>::halo.pixels);
  const int beyond = std::max(64, (halos + 63) / 64 * 64) - extent;
  return extent - floor_div(-beyond, P::alignment) * P::alignment;
}

}  // namespace ulna
