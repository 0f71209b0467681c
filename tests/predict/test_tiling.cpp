// SPDX-License-Identifier: MIT
// Where tiles go, as constant expressions.
#include <doctest/doctest.h>

#include "ulna/model/unet.hpp"
#include "ulna/predict/tiling.hpp"
#include "ulna/program.hpp"

using namespace ulna;

namespace {

/// The tiles of one axis: in order, on the alignment, inside the extended image, and every pixel taken once from a tile
/// that computes it exactly.
constexpr bool sound(const TileAxis& a, int halo) {
  if (a.extended < a.length || a.extended < a.output) return false;
  if (a.extended - std::max(a.length, a.output) >= a.alignment) return false;
  if (a.border() + a.rim < halo) return false;
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
    if (!sound(TileAxis{input, output, alignment, halo, length}, halo)) return false;
  return true;
}

// A few as constants; TEST_CASE below walks more of them.
static_assert(all_sound(32, 32, 2, 8, 1, 100));
static_assert(all_sound(64, 64, 4, 22, 1, 100));
static_assert(all_sound(60, 20, 4, 20, 1, 100));

// Tiles of 64 with a halo of 22: the rim is 24, so they advance by 16.
static_assert(TileAxis{64, 64, 4, 22, 64}.tiles() == 1);
static_assert(TileAxis{64, 64, 4, 22, 64}.rim == 24);
static_assert(TileAxis{64, 64, 4, 22, 65}.extended == 68);
static_assert(TileAxis{64, 64, 4, 22, 65}.tiles() == 2);
static_assert(TileAxis{64, 64, 4, 22, 81}.extended == 84);
static_assert(TileAxis{64, 64, 4, 22, 81}.tiles() == 3);
static_assert(TileAxis{572, 388, 16, 92, 500}.step() == 384);
static_assert(TileAxis{48, 48, 4, 22, 80}.step() == 0);  // two rims fill the tile: Segmenter refuses

// Mirroring without repeating the edge, any distance away.
static_assert(mirrored(0, 5) == 0 && mirrored(4, 5) == 4);
static_assert(mirrored(-1, 5) == 1 && mirrored(-4, 5) == 4 && mirrored(-5, 5) == 3 && mirrored(-8, 5) == 0);
static_assert(mirrored(5, 5) == 3 && mirrored(8, 5) == 0 && mirrored(9, 5) == 1);
static_assert(mirrored(-3, 1) == 0 && mirrored(7, 1) == 0);
static_assert(mirrored(2, 2) == 0 && mirrored(3, 2) == 1 && mirrored(-1, 2) == 1);

// The default tile fits the network and leaves more than two rims, whatever extent the program has.
template <class Net, int Extent>
constexpr bool good_tile() {
  using Own = Program<Net, Image<1, Extent, Extent>>;
  constexpr int tile = default_tile<Own>(Axis::height);
  using P = Program<Net, Image<1, tile, tile>>;
  constexpr TileAxis a{tile, P::output_shape.height, P::alignment, P::halo.pixels, 10'000};
  return a.step() > 0 && a.step() * 3 >= a.output && tile < 700;
}
static_assert(good_tile<UNet<Width<4>, Depth<1>>, 8>());
static_assert(good_tile<UNet<Width<4>, Depth<3>>, 1024>());
static_assert(good_tile<UNet<Width<4>>, 64>());
using Paper = UNet<Width<4>, padding::Valid, norm::None>;
static_assert(good_tile<Paper, 188>());
static_assert(good_tile<Paper, 572>());
static_assert(default_tile<Program<UNet<Width<4>>, Image<1, 96, 1024>>>(Axis::height) == 512);
static_assert(default_tile<Program<UNet<Width<4>>, Image<1, 96, 1024>>>(Axis::width) == 512);
static_assert(default_tile<Program<Paper, Image<1, 572, 188>>>(Axis::width) == 524);

}  // namespace

TEST_CASE("every length up to 400") {
  // Same padding, depth 1 to 4 (halo 8, 22, 46, 94), tiles from just larger than two rims on.
  CHECK(all_sound(18, 18, 2, 8, 1, 400));
  CHECK(all_sound(32, 32, 2, 8, 1, 400));
  CHECK(all_sound(52, 52, 4, 22, 1, 400));
  CHECK(all_sound(64, 64, 4, 22, 1, 400));
  CHECK(all_sound(104, 104, 8, 46, 1, 400));
  CHECK(all_sound(128, 128, 8, 46, 1, 400));
  CHECK(all_sound(208, 208, 16, 94, 1, 400));
  CHECK(all_sound(256, 256, 16, 94, 1, 400));
  // Valid convolutions: the border is the halo, nothing is wrong inside.
  CHECK(all_sound(572, 388, 16, 92, 1, 400));
  CHECK(all_sound(204, 20, 16, 92, 1, 400));
  CHECK(all_sound(60, 20, 4, 20, 1, 400));
  // Networks without pools.
  CHECK(all_sound(9, 9, 1, 4, 1, 400));
  CHECK(all_sound(8, 8, 1, 0, 1, 400));
  CHECK(all_sound(10, 8, 1, 1, 1, 400));
  // The check itself: tiles that overlap by too little, or lie off the alignment, are not sound.
  TileAxis thin{64, 64, 4, 22, 200};
  CHECK(sound(thin, 22));
  thin.rim = 20;
  CHECK(!sound(thin, 22));
  TileAxis askew{64, 64, 4, 22, 200};
  askew.extended += 2;
  CHECK(!sound(askew, 22));
}

TEST_CASE("long axes") {
  for (int length = 1000; length < 100'000; length = length * 5 / 4 + 1) {
    CAPTURE(length);
    CHECK(sound(TileAxis{512, 512, 16, 94, length}, 94));
    CHECK(sound(TileAxis{572, 388, 16, 92, length}, 92));
  }
}
