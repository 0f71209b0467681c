// SPDX-License-Identifier: MIT
// Programs that compute activations again: what is dropped, what it costs and what it saves.
#include <doctest/doctest.h>

#include <vector>

#include "simulate_plan.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/program.hpp"
#include "ulna/train/loss.hpp"

using namespace ulna;
using ulna::testing::PlanSimulation;

namespace {

// The memory of a training step of the usual U-Net halves, for 28 % more multiply-accumulates.
using Usual = Program<UNet<>, Image<1, 512, 512>>;
using Kept = TrainingProgram<Usual, DiceCrossEntropy>;
using Again = TrainingProgram<Usual, DiceCrossEntropy, Recompute<EveryLevel>>;
static_assert(Kept::training_bytes(1) == 1'189'132'544);
static_assert(Again::training_bytes(1) < 630'000'000);
static_assert(100 * Again::macs < 128 * Kept::macs);
// Passes over memory alone: nearly no arithmetic.
using Passes = TrainingProgram<Usual, DiceCrossEntropy, Recompute<EveryPass>>;
static_assert(Passes::training_bytes(1) < 940'000'000);
static_assert(1000 * Passes::macs < 1001 * Kept::macs);

using Small = Program<UNet<Width<4>, Depth<1>, Dropout<>>, Image<1, 16, 20>>;
using SmallKept = TrainingProgram<Small, DiceCrossEntropy>;
using SmallAgain = TrainingProgram<Small, DiceCrossEntropy, Recompute<EveryLevel>>;
// Encoder and bottleneck compute again what their second norm reads; the decoder, the last level, keeps everything.
constexpr std::int64_t pixels = 16 * 20;
static_assert(SmallAgain::macs - SmallKept::macs ==
              pixels * (9 * 1 * 4 + 4 + 9 * 4 * 4) + pixels / 4 * (9 * 4 * 8 + 8 + 9 * 8 * 8));

constexpr int count(const auto& graph, Op op, Repeat repeat) {
  int n = 0;
  for (const Node& node : graph.nodes) n += node.op == op && node.repeat == repeat ? 1 : 0;
  return n;
}
constexpr auto& small_graph = SmallAgain::compiled.graph;
static_assert(count(small_graph, Op::convolution, Repeat::again) == 4);
static_assert(count(small_graph, Op::convolution, Repeat::dropped) == 4);
static_assert(count(small_graph, Op::normalize, Repeat::again) == 2);
// Statistics are kept, and running ones move once.
static_assert(count(small_graph, Op::moments, Repeat::again) == 0);
static_assert(count(small_graph, Op::update_running, Repeat::no) == 6);

template <class P, class Recomputation>
void check_plan() {
  using T = TrainingProgram<P, DiceCrossEntropy, Recomputation>;
  using WithGradient = TrainingProgram<P, DiceCrossEntropy, Recomputation, ImageGradient>;
  for (const int batch : {1, 2}) {
    CHECK(PlanSimulation(T::compiled, batch).run() == "");
    CHECK(PlanSimulation(WithGradient::compiled, batch).run() == "");
  }
  CHECK(T::training_bytes(1) < TrainingProgram<P, DiceCrossEntropy>::training_bytes(1));
  CHECK(T::macs > TrainingProgram<P, DiceCrossEntropy>::macs);
  // What is computed again is what was computed: the same op with the same attributes, of the same values.
  const auto& graph = T::compiled.graph;
  std::vector<int> dropped;
  std::vector<int> again;
  for (int i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].repeat == Repeat::dropped) dropped.push_back(i);
    if (graph.nodes[i].repeat == Repeat::again) again.push_back(i);
  }
  CHECK(again.size() >= dropped.size());  // every unit computes what it reads
  CHECK(dropped.size() > 0);
  int first_backward = again.empty() ? 0 : again.front();
  for (int i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    if (n.gradient_of >= 0 && i < first_backward) first_backward = i;
    // the forward pass reads what it computed, the backward pass nothing that was dropped
    for (int k = 0; k < n.inputs(); ++k) {
      const Repeat read = graph.input(n, k).repeat;
      if (i >= first_backward) CHECK(read != Repeat::dropped);
      if (n.repeat == Repeat::dropped) CHECK(read != Repeat::again);
    }
  }
}

}  // namespace

TEST_CASE("plans of networks that compute again") {
  SUBCASE("U-Net, batch norm, dropout") { check_plan<Small, Recompute<EveryLevel>>(); }
  SUBCASE("U-Net, group norm, sums, mirrored borders, dropout") {
    check_plan<
        Program<UNet<Width<4>, Depth<2>, norm::Group<2>, skip::Sum, padding::Reflect, Dropout<>>, Image<1, 16, 16>>,
        Recompute<EveryLevel>>();
  }
  SUBCASE("U-Net++") {
    check_plan<Program<UNetPlusPlus<Width<4>, Depth<3>, DeepSupervision<>>, Image<1, 16, 16>>, Recompute<EveryBlock>>();
  }
  SUBCASE("recurrent residual attention U-Net") {
    check_plan<Program<R2AttUNet<Width<4>, Depth<2>>, Image<1, 16, 16>>, Recompute<EveryLevel>>();
    check_plan<Program<R2AttUNet<Width<4>, Depth<2>>, Image<1, 16, 16>>, Recompute<EveryPass>>();
  }
  SUBCASE("U-Net, passes") { check_plan<Small, Recompute<EveryPass>>(); }
}

TEST_CASE("the summary says what is computed again") {
  const std::string text = summary(SmallAgain::compiled.graph, SmallAgain::compiled.plan);
  CHECK(text.find("convolution 3x3 (again)") != std::string::npos);
  CHECK(summary(SmallKept::compiled.graph, SmallKept::compiled.plan).find("(again)") == std::string::npos);
}
