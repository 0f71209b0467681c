// SPDX-License-Identifier: MIT
// Where tiles go, as constant expressions.
#include <doctest/doctest.h>

#include "ulna/model/unet.hpp"
#include "ulna/predict/tiling.hpp"

using namespace ulna;

namespace {

/// The tiles of one axis: in order, on the alignment, inside the extended image, and every pixel taken once from a tile
/// that computes it exactly.
constexpr bool sound(const TileAxis& a) {
  if (a.extended < a.length || a.extended < a.output) return false;
  if (a.extended - std::max(a.length, a.output) >= a.alignment) return false;
  if (a.rim < a.input / 2 - a.output / 2 - a.border()) return false;
  int covered = 0;
  for (int i = 0; i < a.tiles(); ++i) {
    const bool last = i + 1 == a.tiles();
    if (a.start(i) < 0 || a.start(i) % a.alignment != 0 || a.start(i) + a.output > a.extended) return false;
    if (a.first(i) != covered || a.last(i) <= a.first(i)) return false;
    if (i > 0 && a.first(i) < a.start(i) + a.rim) return false;            // the near rim is wrong
    if (!last && a.last(i) > a.start(i) + a.output - a.rim) return false;  // so is the far one
    if (a.first(i) < a.start(i) || a.last(i) > a.start(i) + a.output) return false;
    covered = a.last(i);
  }
  // The last tile ends where the extended image ends: its far edge is an image edge.
  return covered == a.length && a.start(a.tiles() - 1) + a.output == a.extended;
}

constexpr bool all_sound(int input, int output, int alignment, int halo, int from, int to) {
  for (int length = from; length <= to; ++length)
    if (!sound(TileAxis{input, output, alignment, halo, length})) return false;
  return true;
}

// Same padding, depth 1 to 3 (halo 8, 22, 46), tiles from just larger than two rims on.
static_assert(all_sound(18, 18, 2, 8, 1, 400));
static_assert(all_sound(32, 32, 2, 8, 1, 400));
static_assert(all_sound(52, 52, 4, 22, 1, 400));
static_assert(all_sound(64, 64, 4, 22, 1, 400));
static_assert(all_sound(104, 104, 8, 46, 1, 400));
static_assert(all_sound(128, 128, 8, 46, 1, 400));
static_assert(all_sound(256, 256, 16, 94, 1, 400));
// Valid convolutions: the border is the halo, nothing is wrong inside.
static_assert(all_sound(572, 388, 16, 92, 1, 400));
static_assert(all_sound(188, 4, 16, 92, 4, 4));
static_assert(all_sound(60, 20, 4, 20, 1, 400));
// Networks without pools.
static_assert(all_sound(9, 9, 1, 4, 1, 400));
static_assert(all_sound(8, 8, 1, 0, 1, 400));
static_assert(all_sound(10, 8, 1, 1, 1, 400));

// Tiles of 64 with a halo of 22: the rim is 24, so they advance by 16.
static_assert(TileAxis{64, 64, 4, 22, 64}.tiles() == 1);
static_assert(TileAxis{64, 64, 4, 22, 64}.rim == 24);
static_assert(TileAxis{64, 64, 4, 22, 65}.extended == 68);
static_assert(TileAxis{64, 64, 4, 22, 65}.tiles() == 2);
static_assert(TileAxis{64, 64, 4, 22, 81}.extended == 84);
static_assert(TileAxis{64, 64, 4, 22, 81}.tiles() == 3);
static_assert(TileAxis{572, 388, 16, 92, 500}.step() == 384);

// Mirroring without repeating the edge, any distance away.
static_assert(mirrored(0, 5) == 0 && mirrored(4, 5) == 4);
static_assert(mirrored(-1, 5) == 1 && mirrored(-4, 5) == 4 && mirrored(-5, 5) == 3 && mirrored(-8, 5) == 0);
static_assert(mirrored(5, 5) == 3 && mirrored(8, 5) == 0 && mirrored(9, 5) == 1);
static_assert(mirrored(-3, 1) == 0 && mirrored(7, 1) == 0);
static_assert(mirrored(2, 2) == 0 && mirrored(3, 2) == 1 && mirrored(-1, 2) == 1);

// The default tile fits the network and leaves more than two rims.
template <class Net>
constexpr bool good_tile() {
  constexpr int tile = default_tile<Net>(1);
  using P = Program<Net, Image<1, tile, tile>>;
  constexpr TileAxis a{tile, P::output_shape.height, P::alignment, P::halo.pixels, 10'000};
  return a.step() > 0 && a.step() * 3 >= a.output;
}
static_assert(good_tile<UNet<Width<4>, Depth<1>>>());
static_assert(good_tile<UNet<Width<4>, Depth<3>>>());
static_assert(good_tile<UNet<Width<4>>>());
static_assert(good_tile<UNet<Width<4>, padding::Valid, norm::None>>());
static_assert(default_tile<UNet<Width<4>>>(1) == 512);

}  // namespace

TEST_CASE("long axes") {
  for (int length = 1000; length < 100'000; length = length * 5 / 4 + 1) {
    CAPTURE(length);
    CHECK(sound(TileAxis{512, 512, 16, 94, length}));
    CHECK(sound(TileAxis{572, 388, 16, 92, length}));
  }
}
