// SPDX-License-Identifier: MIT
// Tiled equals whole, to the bit, on the oneTBB backend.
#include "exact_cases.hpp"
#include "ulna/backend/tbb/tbb.hpp"

using namespace ulna;
using namespace ulna::testing;

using Direct = cpu::Tbb<float, arithmetic::Direct>;

TEST_CASE("depth 1") { check_depth_one<Direct>(Direct{2}); }
TEST_CASE("depth 2 and 3") { check_deeper<Direct>(Direct{2}); }
TEST_CASE("valid and reflected padding") { check_paddings<Direct>(Direct{2}); }
TEST_CASE("other ways down and up, channels that no vector width divides") { check_ways<Direct>(Direct{2}); }
TEST_CASE("Winograd convolutions") {
  using Net = UNet<Width<16>, Depth<1>>;
  using Tile = Program<Net, Image<1, 64, 56>>;
  static_assert(Tiling<Tile, Direct>::alignment == 2 && Tiling<Tile, cpu::Tbb<float>>::alignment == 8);
  static_assert(Tiling<Tile, Direct>::halo.pixels == Tile::halo.pixels);
  static_assert(Tiling<Tile, cpu::Tbb<float>>::halo.pixels > Tile::halo.pixels);
  check_wide<cpu::Tbb<float>>(cpu::Tbb<float>{2});
}
