// SPDX-License-Identifier: MIT
// The U-Net in its published shapes: parameter counts as published or as the code gives them, and runs of small ones.
#include <doctest/doctest.h>

#include "../support/runs.hpp"
#include "ulna/model/published_unets.hpp"

using namespace ulna;
using ulna::testing::runs;

namespace {

template <class Net, int Channels, int Extent>
constexpr std::int64_t parameters = Program<Net, Image<Channels, Extent, Extent>>::parameter_count;

static_assert(parameters<PaperUNet<>, 1, 572> == 31'030'658);
static_assert(parameters<PaperUNet<>, 3, 188> == 31'031'810);
static_assert(parameters<JvanvugtUNet<>, 1, 188> == 31'030'658);
static_assert(parameters<ZhixuhaoUNet<>, 1, 256> == 31'031'685);
static_assert(parameters<MilesialUNet<>, 3, 64> == 31'037'698);
static_assert(parameters<MilesialBilinearUNet<>, 3, 64> == 17'263'042);
static_assert(parameters<LeeJunHyunUNet<>, 3, 64> == 34'527'041);
static_assert(parameters<ZhouUNet<>, 1, 96> == 7'759'521);
static_assert(parameters<WideUNet<>, 1, 96> == 9'282'246);
static_assert(parameters<Uiiurz1UNet<>, 3, 96> == 7'852'545);

static_assert(Program<PaperUNet<>, Image<1, 572, 572>>::output_shape == Shape{2, 1, 388, 388});
static_assert(Program<MilesialUNet<>, Image<3, 65, 47>>::output_shape == Shape{2, 1, 65, 47});
// What is given wins over what the shape says.
static_assert(Program<PaperUNet<Classes<5>, Width<4>>, Image<1, 188, 204>>::output_shape == Shape{5, 1, 4, 20});

}  // namespace

TEST_CASE("the paper's network: depth 2, not square") { runs<PaperUNet<Width<3>, Depth<2>>, 1, 44, 60>(); }
TEST_CASE("milesial: odd extents, odd widths") { runs<MilesialUNet<Widths<3, 5, 7>>, 3, 21, 15>(); }
TEST_CASE("milesial, bilinear: odd extents, odd width") { runs<MilesialBilinearUNet<Width<6>, Depth<3>>, 2, 21, 30>(); }
TEST_CASE("LeeJunHyun: one class, depth 1") {
  runs<LeeJunHyunUNet<Width<4>, Depth<1>>, 3, 12, 20, BinaryCrossEntropy>();
}
TEST_CASE("4uiiurz1: one class, widths that do not double") {
  runs<Uiiurz1UNet<Widths<3, 4, 9>>, 3, 16, 12, BinaryCrossEntropy>();
}
TEST_CASE("zhixuhao: one class") { runs<ZhixuhaoUNet<Width<4>, Depth<2>>, 1, 16, 8, BinaryCrossEntropy>(); }
TEST_CASE("the wide U-Net's shape, narrower") { runs<ZhouUNet<Widths<5, 10, 20>>, 1, 16, 24, BinaryCrossEntropy>(); }
