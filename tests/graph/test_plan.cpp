// SPDX-License-Identifier: MIT
// Memory plans: no value is overwritten while somebody still reads it, concatenation costs nothing, and memory is
// shared.
#include <doctest/doctest.h>

#include "simulate_plan.hpp"
#include "ulna/graph/cost.hpp"
#include "ulna/model/attention_unet.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/program.hpp"
#include "ulna/train/loss.hpp"

using namespace ulna;
using ulna::testing::PlanSimulation;

namespace {

template <class P, class Loss = CrossEntropy>
void check_plans() {
  using Training = TrainingProgram<P, Loss>;
  using WithImageGradient = TrainingProgram<P, Loss, ImageGradient>;
  for (const int batch : {1, 2}) {
    CAPTURE(batch);
    CHECK(PlanSimulation(P::inference, batch).run() == "");
    CHECK(PlanSimulation(Training::compiled, batch).run() == "");
    CHECK(PlanSimulation(WithImageGradient::compiled, batch).run() == "");
  }
  CHECK(P::inference.plan.arena < P::inference.plan.unplanned);
  CHECK(Training::compiled.plan.arena < Training::compiled.plan.unplanned);
}

template <class... Options>
using Small = UNet<Width<4>, Depth<2>, Options...>;

}  // namespace

TEST_CASE("plans of U-Nets with every option") {
  SUBCASE("batch norm") { check_plans<Program<Small<>, Image<1, 16, 12>>>(); }
  SUBCASE("valid padding, no norm") {
    check_plans<Program<Small<padding::Valid, norm::None, skip::ConcatUpFirst>, Image<3, 44, 48>>>();
  }
  SUBCASE("sum skips, reflected borders") {
    check_plans<Program<Small<skip::Sum, padding::Reflect>, Image<1, 16, 16>>, DiceCrossEntropy>();
  }
  SUBCASE("group norm, dropout, strided convolution, bilinear") {
    check_plans<Program<Small<norm::Group<2>, Dropout<>, down::StridedConv, up::BilinearConv<>>, Image<2, 16, 8>>>();
  }
  SUBCASE("instance norm without parameters, leaky ReLU, average pool, nearest, one class") {
    check_plans<
        Program<Small<Classes<1>, norm::Instance<false>, activation::LeakyReLU<>, down::AveragePool, up::NearestConv<>>,
                Image<1, 8, 8>>,
        DiceBinaryCrossEntropy>();
  }
  SUBCASE("no norm, sigmoid, weighted loss, dropout") {
    check_plans<Program<Small<norm::None, activation::Sigmoid, Dropout<std::ratio<1, 4>>>, Image<1, 8, 8>>,
                WeightedCrossEntropy>();
  }
}

namespace {

/// Values that are read many times, joined with themselves, and joined in several places.
struct Tangle {
  static constexpr Value lower(Builder& b, Value x) {
    const Value a = layer::conv(b, x, {.channels = 4}, "a");
    const Value twice = op::concat(b, a, a);
    const Value c = layer::conv(b, twice, {.channels = 4}, "c");
    const Value both = op::concat(b, c, a);
    const Value three = op::concat(b, both, op::activation(b, c, Activation::relu));
    const Value d = layer::conv(b, three, {.channels = 4}, "d");
    const Value doubled = op::add(b, d, d);
    const Value sum =
        op::add(b, op::activation(b, doubled, Activation::sigmoid), layer::conv(b, three, {.channels = 4}, "e"));
    const Value product = op::multiply(b, sum, op::softmax(b, d));
    return layer::conv(b, op::concat(b, product, op::concat(b, x, sum)), {.channels = 2, .kernel = 1}, "head");
  }
};

/// A dense block: everything before is read by everything after.
struct Dense {
  static constexpr Value lower(Builder& b, Value x) {
    Value all = layer::conv(b, x, {.channels = 3}, "stem");
    for (int i = 0; i < 4; ++i) {
      const auto s = b.scope("unit", i);
      const Value y = norm::Batch::lower(b, layer::conv(b, all, {.channels = 3}));
      all = op::concat(b, all, op::activation(b, y, Activation::relu));
    }
    return layer::conv(b, all, {.channels = 2, .kernel = 1}, "head");
  }
};

struct R2Layer {
  static constexpr Value lower(Builder& b, Value x) { return R2Block<>::lower(b, x, b.shape(x).channels); }
};

/// Residuals inside residuals: sums that may write into either operand.
using Unit = Residual<Sequential<Conv<4>, norm::Batch, activation::ReLU, Residual<Conv<4>>, Dropout<>>>;
using Residuals = Sequential<Conv<4>, Unit, activation::LeakyReLU<>, Unit, Residual<Identity>, Conv<2, 1>>;

using Branches = Sequential<Concat<Conv<2>, Conv<3, 1>, Identity, Sequential<MaxPool<>, UpsampleNearest<>>>, Conv<2>>;

}  // namespace

TEST_CASE("plans of networks that read values many times") {
  SUBCASE("tangle") { check_plans<Program<Tangle, Image<2, 6, 5>>>(); }
  SUBCASE("dense") { check_plans<Program<Dense, Image<1, 6, 5>>>(); }
  SUBCASE("residuals") { check_plans<Program<Residuals, Image<1, 6, 5>>, DiceCrossEntropy>(); }
  SUBCASE("recurrent residuals") { check_plans<Program<R2UNet<Width<2>, Depth<1>>, Image<2, 6, 4>>>(); }
  SUBCASE("branches") { check_plans<Program<Branches, Image<2, 6, 4>>>(); }
}

TEST_CASE("concatenation and slices are views") {
  using P = Program<Small<>, Image<1, 16, 16>>;
  const auto check = [](const auto& compiled) {
    int concats = 0;
    for (int i = 0; i < compiled.graph.nodes.size(); ++i) {
      const Node& n = compiled.graph.nodes[i];
      const Place& whole = compiled.plan.places[i];
      if (n.op == Op::slice) CHECK(whole.is_view);
      if (n.op != Op::concat) continue;
      ++concats;
      int begin = 0;
      for (int k = 0; k < n.inputs(); ++k) {
        const Place& part = compiled.plan.places[n.input[static_cast<std::size_t>(k)]];
        CHECK(part.is_view);
        CHECK(part.offset == whole.offset);
        CHECK(part.channel_offset == whole.channel_offset + begin);
        CHECK(part.pixel_stride == whole.pixel_stride);
        begin += compiled.graph.input(n, k).shape.channels;
      }
      CHECK(begin == whole.pixel_stride);
    }
    CHECK(concats == 2);
  };
  check(P::inference);
  check(TrainingProgram<P, CrossEntropy>::compiled);
}

TEST_CASE("a convolution takes over the memory of a residual that nobody reads again, but not of its own input") {
  const auto taken = [](const auto& c) {
    FixedVector<bool, 16> in_place{};
    for (int i = 0; i < c.graph.nodes.size(); ++i)
      if (c.graph.nodes[i].residual != ResidualSum::none)
        in_place.push_back(c.plan.places[i].offset == c.plan.places[c.graph.nodes[i].input[residual_input]].offset);
    return in_place;
  };
  // x + f(x), then x + f(x + f(x)), after which x is not needed: two recurrent convolutions. Last the block's shortcut.
  constexpr auto recurrent = taken(Program<Sequential<Conv<2>, R2Layer>, Image<1, 8, 8>>::inference);
  static_assert(recurrent.size() == 5);
  static_assert(!recurrent[0] && !recurrent[1] && !recurrent[2] && recurrent[3] && recurrent[4]);
  constexpr auto own_input = taken(Program<Sequential<Conv<2>, Residual<Conv<2>>, Conv<2>>, Image<1, 8, 8>>::inference);
  static_assert(own_input.size() == 1 && !own_input[0]);
  constexpr auto inner =
      taken(Program<Sequential<Conv<2>, Residual<Sequential<Conv<2>, Conv<2>>>, Conv<2>>, Image<1, 8, 8>>::inference);
  static_assert(inner.size() == 1 && inner[0]);
}

namespace {

constexpr std::int64_t arena_bytes(const auto& compiled) { return 4 * compiled.plan.arena; }

/// Elements that a graph's concatenations copy.
constexpr std::int64_t copied_bytes(const auto& compiled) {
  std::int64_t bytes = 0;
  for (int i = 0; i < compiled.graph.nodes.size(); ++i)
    if (compiled.graph.nodes[i].op == Op::concat) bytes += cost_of(compiled, i, 1).bytes_written;
  return bytes;
}

}  // namespace

TEST_CASE("skips are copied where their concatenations keep much memory from others") {
  constexpr std::int64_t level = 4 * 32 * 256 * 256;  // a map of U-Net++'s first level, 8.4 MB

  // Four nodes of the first level wait for the last concatenation. While the third decoder writes its first map, three
  // of them live beside its concatenation, 5 + 1 maps; six nodes of deeper levels take 2.16 maps and a pool 1/32.
  constexpr const auto& nested = Program<UNetPlusPlus<Classes<1>, ConvBias<true>>, Image<3, 256, 256>>::inference;
  static_assert(arena_bytes(nested) == 93'585'408);
  static_assert(arena_bytes(nested) < 12 * level);
  CHECK(PlanSimulation(Program<UNetPlusPlus<Classes<1>, Width<2>>, Image<3, 16, 16>>::inference, 2).run() == "");

  // The gated skip is copied: 16.8 MB for as much. At the concatenation, twice as wide as each of its parts, skip and
  // upsampled map live, and the four attention maps that are published.
  constexpr const auto& gated = Program<AttentionUNet<Classes<1>>, Image<3, 256, 256>>::inference;
  constexpr std::int64_t map = 4 * 64 * 256 * 256;
  constexpr std::int64_t attention = 4 * (256 * 256 + 128 * 128 + 64 * 64 + 32 * 32);
  static_assert(arena_bytes(gated) == 4 * map + attention);
  static_assert(copied_bytes(gated) == map);

  // The skip of level 0 (1 map) waits beside its concatenation (2) while a map of level 1 (1/2) is upsampled into that.
  // It would take 126/32 maps if all skips lived in their concatenations; of the others only that of level 0 is copied.
  constexpr const auto& plain = Program<UNet<>, Image<1, 512, 512>>::inference;
  constexpr std::int64_t large = std::int64_t{4} * 64 * 512 * 512;
  static_assert(2 * arena_bytes(plain) == 7 * large);
  static_assert(copied_bytes(plain) == large);

  // Upsampling by nearest neighbours needs most: its result (2), convolved to 1, beside the skip (1). It pays only if
  // both parts of the last concatenation are copied, so that this need not be there.
  constexpr const auto& recurrent =
      Program<R2UNet<Classes<1>, R2Blocks<recurrent::SharedStatistics>>, Image<3, 256, 256>>::inference;
  static_assert(arena_bytes(recurrent) == 4 * map);
  static_assert(copied_bytes(recurrent) == 2 * map);
}

TEST_CASE("the simulation notices a value that is overwritten too early") {
  using P = Program<Small<norm::None>, Image<1, 16, 16>>;
  auto compiled = P::inference;
  int found = 0;
  // Every value that is moved onto another one that lives longer than the next node must be noticed: the skip of
  // level 0 lives until the last concatenation.
  int skip = -1;
  for (int i = 0; i < compiled.graph.nodes.size(); ++i) {
    if (compiled.graph.nodes[i].op == Op::concat && compiled.graph.nodes[i].input[0] == skip) break;
    if (compiled.graph.nodes[i].op == Op::max_pool && skip < 0) skip = compiled.graph.nodes[i].input[0];
    if (skip < 0 || compiled.graph.nodes[i].op != Op::convolution) continue;
    auto broken = compiled;
    broken.plan.places[i].offset = compiled.plan.places[skip].offset;
    if (compiled.plan.places[i].offset == broken.plan.places[i].offset) continue;
    ++found;
    CHECK(PlanSimulation(broken, 1).run() != "");
  }
  CHECK(found >= 3);
}

TEST_CASE("bytes") {
  using P = Program<Small<>, Image<1, 16, 16>>;
  CHECK(P::inference_bytes(3) - P::inference_bytes(2) == 4 * (P::inference.plan.arena + P::inference.plan.staging));
  // The image, at least: 16 x 16 floats a sample.
  CHECK(P::inference.plan.staging >= 16 * 16);
  // Inference keeps only what skips need; training keeps every activation.
  static_assert(TrainingProgram<P, CrossEntropy>::training_bytes(1) > P::inference_bytes(1));
  static_assert(Program<UNet<>, Image<1, 512, 512>>::inference_bytes(1) < 400'000'000);
}
