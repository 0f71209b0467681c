// SPDX-License-Identifier: MIT
// What nodes cost is known before anything runs; profiles list every node that runs once, with the time it took.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

using P = Program<UNet<Width<4>, Depth<1>, Dropout<>>, Image<1, 16, 20>>;
using Training = TrainingProgram<P, DiceCrossEntropy>;
constexpr Machine machine{.flops = 1e9, .bytes_per_second = 1e9};

/// The first node of an op.
constexpr int first(const auto& compiled, Op op) {
  for (int i = 0; i < compiled.graph.nodes.size(); ++i)
    if (compiled.graph.nodes[i].op == op) return i;
  return -1;
}
constexpr Cost first_cost(const auto& compiled, Op op, int batch, ElementBytes bytes = {}) {
  return cost_of(compiled, first(compiled, op), batch, bytes);
}

// The first convolution: 1 -> 4 channels, 3 x 3, on 16 x 20 pixels, with folded weights and bias.
constexpr std::int64_t pixels = 16 * 20;
static_assert(first_cost(P::inference, Op::convolution, 1) ==
              Cost{pixels * 9 * 4, 4 * (pixels + 9 * 4 + 4), 4 * pixels * 4});
// At batch 3 the parameters are read once; bf16 activations have half the bytes, parameters keep theirs.
static_assert(first_cost(P::inference, Op::convolution, 3, {.activation = 2, .master = 4}) ==
              Cost{3 * pixels * 9 * 4, 2 * 3 * pixels + 4 * (9 * 4 + 4), 2 * 3 * pixels * 4});
// A concatenation whose parts lie where they belong moves nothing.
static_assert(first_cost(P::inference, Op::concat, 1) == Cost{});
static_assert(first_cost(Training::compiled, Op::update_running, 2) == Cost{0, 4 * (8 + 4 + 4), 4 * (4 + 4)});
static_assert(first_cost(Training::compiled, Op::max_pool_gradient, 1) ==
              Cost{0, 4 * 4 * (pixels / 4 + pixels), 4 * 4 * pixels});

// Arithmetic or memory, whichever takes longer.
static_assert(roofline_seconds({.macs = 100, .bytes_read = 10, .bytes_written = 20},
                               {.flops = 200, .bytes_per_second = 1}) == 30.0);
static_assert(roofline_seconds({.macs = 100, .bytes_read = 10, .bytes_written = 20},
                               {.flops = 1, .bytes_per_second = 30}) == 200.0);

/// Rows are the nodes that run, in order, each once, with its cost; times are times.
template <class B>
void check(const Profile& profile, const auto& compiled, int batch) {
  constexpr ElementBytes bytes{sizeof(typename B::Element), sizeof(MasterOf<B>)};
  CHECK(profile.batch == batch);
  std::size_t at = 0;
  std::int64_t macs = 0;
  double sum = 0.0;
  for (int i = 0; i < compiled.graph.nodes.size(); ++i) {
    const Node& n = compiled.graph.nodes[i];
    if (!runs(n) || n.once) continue;
    REQUIRE(at < profile.rows.size());
    const ProfileRow& row = profile.rows[at++];
    CHECK(row.node == i);
    CHECK(row.cost == cost_of(compiled, i, batch, bytes));
    CHECK(row.path == path_of(compiled.graph, n.scope));
    CHECK(row.op.find(n.op == Op::activation ? "relu" : name_of(n.op)) == 0);
    CHECK(row.shape == n.shape);
    CHECK(row.roofline_seconds == roofline_seconds(row.cost, profile.machine));
    CHECK(row.seconds > 0.0);
    macs += row.cost.macs;
    sum += row.seconds;
  }
  CHECK(at == profile.rows.size());
  CHECK(macs == batch * macs_of(compiled.graph));
  CHECK(profile.cost().macs == macs);
  CHECK(sum <= profile.seconds);  // of one run: the median of several runs' parts may exceed their median
}

template <class B>
void check_inference(B backend) {
  Model<P, MasterOf<B>> model;
  const RandomBatch two = random_batch<P>(2);
  Predictor<P, B> predictor{model, 3, backend};
  const auto before = predictor.predict(two.image_view);
  const std::vector<typename B::Element> expected(before.data, before.sample(2));
  const Profile profile = predictor.profile(two.image_view, {.runs = 1, .machine = machine});
  check<B>(profile, P::inference, 2);
  CHECK(profile.cost().macs == 2 * P::macs);
  CHECK(profile.machine == machine);
  // nothing else changed
  const auto after = predictor.predict(two.image_view);
  CHECK(std::equal(expected.begin(), expected.end(), after.data,
                   [](auto a, auto b) { return static_cast<float>(a) == static_cast<float>(b); }));
}

template <class B>
void check_training(B backend) {
  Model<P, MasterOf<B>> model;
  const RandomBatch two = random_batch<P>(2);
  Trainer<P, DiceCrossEntropy, B> trainer{model, {}, {.batch = 2}, backend};
  trainer.step(two.image_view, two.label_view);
  const std::uint64_t hash = model.hash();
  check<B>(trainer.profile(two.image_view, two.label_view, {}, {.runs = 1, .machine = machine}), Training::compiled, 2);
  CHECK(model.hash() == hash);
  CHECK(trainer.steps() == 1);
}

}  // namespace

TEST_CASE("profiles of inference") {
  check_inference(cpu::Eigen<double>{});
  check_inference(cpu::Tbb<float>{2});
  check_inference(cpu::Tbb<bf16>{2});
}

TEST_CASE("profiles of training") {
  check_training(cpu::Eigen<float>{});
  check_training(cpu::Tbb<float>{2});
}

TEST_CASE("several runs, the machine measured, and the table") {
  Model<P> model;
  const RandomBatch one = random_batch<P>(1);
  Predictor<P, cpu::Tbb<float>> predictor{model, 1};
  const Profile profile = predictor.profile(one.image_view, {.runs = 3});
  // any machine that runs this: 10 MFlop/s to 1 PFlop/s, 10 MB/s to 100 TB/s
  CHECK(profile.machine.flops > 1e7);
  CHECK(profile.machine.flops < 1e15);
  CHECK(profile.machine.bytes_per_second > 1e7);
  CHECK(profile.machine.bytes_per_second < 1e14);
  CHECK(profile.roofline_seconds() > 0.0);
  const std::string table = profile.table();
  CHECK(std::count(table.begin(), table.end(), '\n') == static_cast<std::ptrdiff_t>(profile.rows.size()) + 3);
  for (const char* part :
       {"% of roofline", "UNet/encoder[0]/conv1", "convolution 3x3 + relu", "4 x 16 x 20", "11,520", "total"})
    CHECK_MESSAGE(table.find(part) != std::string::npos, part);
  CHECK_THROWS_WITH_AS(predictor.profile(one.image_view, {.runs = 0}), "profile: runs is 0, must be at least 1",
                       ArgumentError);
}
