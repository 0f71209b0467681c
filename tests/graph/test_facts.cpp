// SPDX-License-Identifier: MIT
// What is known about U-Nets before anything runs: parameters, extents, multiply-accumulates, receptive fields. The
// figures are those of the papers and of widely used implementations.
#include <doctest/doctest.h>

#include <array>

#include "ulna/model/unet.hpp"
#include "ulna/program.hpp"

using namespace ulna;

namespace {

/// The network of the 2015 paper.
using Paper = UNet<padding::Valid, norm::None, skip::ConcatUpFirst>;
/// As most code has it today.
using Today = UNet<>;
/// Small networks without norm.
template <int W, int D, class... More>
using Plain = UNet<Classes<1>, Width<W>, Depth<D>, norm::None, More...>;

template <class Net, int Channels, int Extent>
constexpr std::int64_t parameters = Program<Net, Image<Channels, Extent, Extent>>::parameter_count;

// --- parameters

using PaperProgram = Program<Paper, Image<1, 572, 572>>;
static_assert(PaperProgram::parameter_count == 31'030'658);
static_assert(PaperProgram::state_count == 0);
static_assert(PaperProgram::output_shape == Shape{2, 1, 388, 388});
static_assert(parameters<Paper, 3, 188> == 31'031'810);

using TodayProgram = Program<Today, Image<1, 512, 512>>;
static_assert(TodayProgram::parameter_count == 31'036'546);
static_assert(TodayProgram::output_shape == Shape{2, 1, 512, 512});
// Two running statistics for each output channel of the 18 convolutions of blocks.
static_assert(TodayProgram::state_count == 2 * 2 * (2 * (64 + 128 + 256 + 512) + 1024));
static_assert(parameters<Today, 3, 32> == 31'037'698);  // milesial/Pytorch-UNet, 3 channels

static_assert(parameters<Plain<16, 3>, 1, 32> == 481'745);
static_assert(parameters<Plain<16, 4>, 1, 32> == 1'940'817);
static_assert(parameters<Plain<8, 4>, 1, 32> == 485'673);
static_assert(parameters<Plain<32, 4>, 1, 32> == 7'759'521);  // the U-Net that U-Net++ is compared with, 7.76 M
static_assert(parameters<Plain<35, 4>, 1, 32> == 9'282'246);  // the wide U-Net of the same authors' code

// A 2x2 convolution after nearest upsampling has as many parameters as a 2x2 transposed convolution.
static_assert(parameters<UNet<norm::None, up::NearestConv<2>>, 1, 32> == 31'030'658);
// Sum skips halve the input channels of each decoder's first convolution.
static_assert(parameters<Plain<16, 3>, 1, 32> - parameters<Plain<16, 3, skip::Sum>, 1, 32> ==
              9 * (16 * 16 + 32 * 32 + 64 * 64));
// A strided convolution for each pool, with its bias.
static_assert(parameters<Plain<16, 3, down::StridedConv>, 1, 32> - parameters<Plain<16, 3>, 1, 32> ==
              9 * (16 * 16 + 32 * 32 + 64 * 64) + 16 + 32 + 64);
// Instance and group norm have a scale and a shift for each channel, and no running statistics.
using Grouped = Program<UNet<Width<8>, Depth<1>, norm::Group<4>>, Image<1, 8, 8>>;
using Instanced = Program<UNet<Width<8>, Depth<1>, norm::Instance<>>, Image<1, 8, 8>>;
using Batched = Program<UNet<Width<8>, Depth<1>>, Image<1, 8, 8>>;
static_assert(Grouped::parameter_count == Batched::parameter_count && Grouped::state_count == 0);
static_assert(Instanced::parameter_count == Batched::parameter_count && Instanced::state_count == 0);
static_assert(Batched::parameter_count - parameters<UNet<Width<8>, Depth<1>, norm::Instance<false>>, 1, 8> ==
              2 * (2 * 8 + 2 * 16 + 2 * 8));

// --- extents at every level

/// Heights of the outputs of all convolutions and pools, in order.
template <class P>
constexpr auto heights() {
  FixedVector<int, 64> h{};
  for (const Node& n : P::inference.graph.nodes)
    if (n.op == Op::convolution || n.op == Op::transposed_convolution || n.op == Op::max_pool)
      h.push_back(n.shape.height);
  return h;
}

template <class P, int Count>
constexpr bool heights_are(const std::array<int, Count>& expected) {
  const auto found = heights<P>();
  for (int i = 0; i < Count; ++i)
    if (found[i] != expected[static_cast<std::size_t>(i)]) return false;
  return found.size() == Count;
}

static_assert(heights_are<PaperProgram, 27>({570, 568, 284, 282, 280, 140, 138, 136, 68,  66,  64,  32,  30, 28,
                                             56,  54,  52,  104, 102, 100, 200, 198, 196, 392, 390, 388, 388}));
static_assert(heights_are<TodayProgram, 27>({512, 512, 256, 256, 256, 128, 128, 128, 64,  64,  64,  32,  32, 32,
                                             64,  64,  64,  128, 128, 128, 256, 256, 256, 512, 512, 512, 512}));
static_assert(Program<Paper, Image<1, 188, 204>>::output_shape == Shape{2, 1, 4, 20});

/// Pixels cut from each side of the skips, deepest level first.
template <class P>
constexpr auto crops() {
  FixedVector<int, 8> c{};
  for (const Node& n : P::inference.graph.nodes)
    if (n.op == Op::crop) c.push_back(n.window.pad_before.height);
  return c;
}
static_assert(crops<PaperProgram>().size() == 4);
static_assert(crops<PaperProgram>()[0] == 4 && crops<PaperProgram>()[1] == 16 && crops<PaperProgram>()[2] == 40 &&
              crops<PaperProgram>()[3] == 88);
static_assert(crops<TodayProgram>().empty());

// --- multiply-accumulates

/// Of a U-Net with padding: 3x3 blocks, 2x2 transposed convolutions, a 1x1 head.
constexpr std::int64_t unet_macs(std::int64_t in, std::int64_t width, int depth, std::int64_t extent,
                                 std::int64_t classes) {
  std::int64_t macs = extent * extent * width * classes;
  for (int level = 0; level <= depth; ++level) {
    const std::int64_t pixels = (extent >> level) * (extent >> level);
    const std::int64_t w = width << level;
    const std::int64_t from = level == 0 ? in : w / 2;
    macs += pixels * 9 * (from * w + w * w);                                    // encoder or bottleneck
    if (level < depth) macs += pixels * (2 * w * w + 9 * (2 * w * w + w * w));  // one tap of up's four, decoder
  }
  return macs;
}
static_assert(unet_macs(1, 64, 4, 512, 2) == 192'384'335'872);
static_assert(TodayProgram::macs == 192'384'335'872);  // batch norm is folded into the convolutions
static_assert(Program<Plain<16, 3>, Image<3, 64, 64>>::macs == unet_macs(3, 16, 3, 64, 1));

// --- halo and receptive field

template <class Net, int Extent = 64, int Channels = 1>
constexpr Halo halo = Program<Net, Image<Channels, Extent, Extent>>::halo;

template <int Depth, int Halo, int Radius>
constexpr bool sees() {
  using P = Program<Plain<4, Depth>, Image<1, 64, 64>>;
  return P::halo.bounded && P::halo.pixels == Halo && P::receptive_radius == Radius && P::alignment == 1 << Depth;
}
static_assert(sees<1, 8, 9>());
static_assert(sees<2, 22, 23>());
static_assert(sees<3, 46, 51>());
static_assert(sees<4, 94, 107>());
static_assert(sees<5, 190, 219>());

static_assert(PaperProgram::halo.bounded && PaperProgram::halo.pixels == 92);
static_assert(PaperProgram::receptive_radius == 107);  // of the pixel of a tile that sees farthest

// Along a phase that pooling divides evenly, a pixel of the paper's network sees 185 pixels.
static_assert(dependence(PaperProgram::inference.graph, Axis::height, {0, 0, true}) == Interval{0, 187, true});

// Mirrored padding sees what zero padding sees; the 3x3 convolutions of other ways down and up see a little more.
static_assert(halo<Plain<4, 3, padding::Reflect>>.pixels == 46);
static_assert(halo<Plain<4, 1, up::NearestConv<3>>>.pixels == 10);
static_assert(halo<Plain<4, 1, up::BilinearConv<3>>>.pixels == 10);
static_assert(halo<Plain<4, 1, down::StridedConv>>.pixels == 9);

// The halo is the network's, not the image's.
static_assert(halo<Plain<4, 2>, 16>.pixels == 22 && halo<Plain<4, 2>, 256>.pixels == 22);
static_assert(Program<Plain<4, 2>, Image<1, 32, 128>>::halo.pixels == 22);

// Statistics of the whole image leave no halo that would do, and neither do sampling positions that depend on it.
static_assert(!halo<UNet<Width<4>, Depth<1>, norm::Instance<>>>.bounded);
static_assert(!halo<UNet<Width<4>, Depth<1>, norm::Group<2>>>.bounded);
static_assert(!halo<Plain<4, 1, up::BilinearConv<3, true>>>.bounded);
static_assert(halo<UNet<Width<4>, Depth<1>>>.bounded);  // batch norm: running statistics

}  // namespace

TEST_CASE("the summary prints the facts of the network") {
  const std::string text = TodayProgram::summary();
  const auto has = [&text](const std::string& part) { CHECK_MESSAGE(text.find(part) != std::string::npos, part); };
  has("total: 31,036,546 parameters, 192,384,335,872 MACs, arena ");
  has("UNet/encoder[0]/conv1");
  has("convolution 3x3 + relu");
  has("max_pool 2x2 /2");
  has("transposed_convolution 2x2 /2");
  has("1024 x 32 x 32");
  has("64 x 512 x 512");
  CHECK(text.find("affine") == std::string::npos);  // folded
  CHECK(text.find("relu") != std::string::npos);

  // The parameters and multiply-accumulates of the lines add up to the totals.
  std::int64_t parameter_sum = 0;
  std::vector<bool> met(static_cast<std::size_t>(TodayProgram::inference.graph.parameters.size()));
  for (const Node& n : TodayProgram::inference.graph.nodes)
    if (!n.once && n.op != Op::parameter) parameter_sum += detail::parameters_of(TodayProgram::inference.graph, n, met);
  CHECK(parameter_sum == TodayProgram::parameter_count);
}

TEST_CASE("one line of the summary") {
  using P = Program<UNet<Width<8>, Depth<1>>, Image<1, 8, 16>>;
  const std::string text = P::summary();
  // 1 x 8 weights of 9 taps, scale and shift of 8 channels; 8 x 16 pixels of 72 multiply-accumulates.
  const std::size_t at = text.find("UNet/encoder[0]/conv1 ");
  REQUIRE(at != std::string::npos);
  const std::string line = text.substr(at, text.find('\n', at) - at);
  CHECK_MESSAGE(line.find("8 x 8 x 16") != std::string::npos, line);
  CHECK_MESSAGE(line.find(" 88 ") != std::string::npos, line);
  CHECK_MESSAGE(line.find(" 9,216 ") != std::string::npos, line);
  CHECK(text.find("total: " + std::to_string(P::parameter_count / 1000) + ",") != std::string::npos);
}

TEST_CASE("the overview has a box for each block, in rows of one extent") {
  using P = Program<UNet<Width<4>, Depth<1>, norm::None>, Image<1, 8, 8>>;
  const std::string text = P::overview();
  const auto has = [&text](const std::string& part) { return text.find(part) != std::string::npos; };
  // 4 x 9 + 4 numbers, then 4 x 4 x 9 + 4
  CHECK_MESSAGE(has("encoder[0]\\n4 x 8 x 8\\n188 parameters"), text);
  CHECK(has("bottleneck\\n8 x 4 x 4"));
  CHECK(has("decoder[0]\\n4 x 8 x 8"));
  CHECK(has("head\\n2 x 8 x 8\\n10 parameters"));
  std::size_t rows = 0;
  for (std::size_t at = text.find("rank=same"); at != std::string::npos; at = text.find("rank=same", at + 1)) ++rows;
  CHECK(rows == 2);
}

TEST_CASE("the picture has a box for each op that runs and an arrow for each value it reads") {
  using P = Program<UNet<Width<4>, Depth<1>, norm::None>, Image<1, 8, 8>>;
  const std::string text = P::dot();
  CHECK(text.starts_with("digraph ulna {"));
  CHECK(text.ends_with("}\n"));
  const auto count = [&text](const std::string& part) {
    int n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
  };
  // input, 2 convolutions, pool, 2 convolutions, up, concat, 2 convolutions, head
  CHECK(count("label=") == 11);
  CHECK(count(" -> ") == 11);  // a chain of ten arrows, and the skip
  CHECK(count("UNet/encoder[0]/pool") == 1);
  CHECK(count("concat") >= 1);
}
