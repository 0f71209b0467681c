// SPDX-License-Identifier: MIT
// Profiles of programs on a device, what the device can do, and what goes wrong on one, with the host in its place.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "../../support/batch.hpp"
#include "box_emulator.hpp"
#include "ulna/backend/cuda/executor.hpp"
#include "ulna/backend/cuda/training_run.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

/// Refuses to launch a kernel, as a device may, after so many others.
struct FragileExecution : cuda::EmulatedExecution {
  static inline int launches_left = std::numeric_limits<int>::max();
  template <class Body>
  void each(const char* name, std::int64_t count, const Body& body) const {
    if (launches_left-- == 0) throw cuda::Error(std::string(name) + ": launch failed: cudaErrorLaunchOutOfResources");
    cuda::EmulatedExecution::each(name, count, body);
  }
};
/// Has kernels that fail when they run, and little memory.
struct FragilePlatform : cuda::HostPlatform<FragileExecution> {
  static inline std::int64_t available = std::numeric_limits<std::int64_t>::max();
  using HostPlatform::HostPlatform;
  std::int64_t free_bytes() const { return available; }
  static inline int waits_left = std::numeric_limits<int>::max();
  void wait() const {
    if (waits_left-- == 0) throw cuda::Error("the host: a kernel or copy failed: cudaErrorIllegalAddress");
  }
};

using Device = cuda::BasicDevice<float, cuda::arithmetic::Exact, FragilePlatform>;
using Net = Program<UNet<Width<4>, Depth<1>, Dropout<>>, Image<2, 12, 10>>;
using Training = TrainingProgram<Net, CrossEntropy>;
constexpr Machine machine{.flops = 1e9, .bytes_per_second = 1e9};

/// Rows are the nodes that run, in order, each once; the run is its nodes.
void check(const Profile& profile, const auto& compiled, int batch) {
  CHECK(profile.batch == batch);
  CHECK(profile.machine == machine);
  std::size_t at = 0;
  double sum = 0.0;
  for (int i = 0; i < compiled.graph.nodes.size(); ++i) {
    const Node& n = compiled.graph.nodes[i];
    if (!runs(n) || n.once) continue;
    REQUIRE(at < profile.rows.size());
    const ProfileRow& row = profile.rows[at++];
    CHECK(row.node == i);
    CHECK(row.path == path_of(compiled.graph, n.scope));
    CHECK(row.cost == cost_of(compiled, i, batch));
    CHECK(row.seconds > 0.0);
    sum += row.seconds;
  }
  CHECK(at == profile.rows.size());
  CHECK(sum == doctest::Approx(profile.seconds));
}

std::vector<float> values_of(const Tensor<float>& t) {
  return {t.data, t.data + static_cast<std::ptrdiff_t>(t.shape.size()) * t.batch};
}

}  // namespace

TEST_CASE("a profile of predictions on a device") {
  Model<Net> model;
  const RandomBatch two = random_batch<Net>(2);
  Predictor<Net, Device> predictor{model, 3};
  const std::vector<float> before = values_of(predictor.predict(two.image_view));
  check(predictor.profile(two.image_view, {.runs = 1, .machine = machine}), Net::inference, 2);
  CHECK(values_of(predictor.predict(two.image_view)) == before);
  CHECK_THROWS_WITH_AS(predictor.profile(two.image_view, {.runs = 0}), "profile: runs is 0, must be at least 1",
                       ArgumentError);
}

TEST_CASE("a profile of training on a device changes nothing") {
  const RandomBatch two = random_batch<Net>(2);
  const RandomBatch others = random_batch<Net>(2, Seed{5});
  Model<Net> profiled;
  Model<Net> left_alone;
  Trainer<Net, CrossEntropy, Device> trainer{profiled, {}, {.batch = 2}};
  Trainer<Net, CrossEntropy, Device> other{left_alone, {}, {.batch = 2}};
  for (int step = 0; step < 2; ++step) {
    trainer.step(two.image_view, two.label_view);
    other.step(two.image_view, two.label_view);
    check(trainer.profile(others.image_view, others.label_view, {}, {.runs = 1, .machine = machine}),
          Training::compiled, 2);
    CHECK(trainer.steps() == step + 1);
  }
  CHECK(profiled.hash() == left_alone.hash());
  // gradients() are those of the batch that was profiled
  other.evaluate_gradients(others.image_view, others.label_view);
  CHECK(std::ranges::equal(trainer.gradients(), other.gradients()));
}

namespace {

/// Every thread's sum of the product is there, `rounds` times over: their sum is that of all products of the operands.
template <class Tile>
void check_rate(bool warpgroups) {
  cuda::EmulatedExecution on;
  on.warpgroups = warpgroups;
  constexpr int blocks = 2, rounds = 3;
  const auto tiles = cuda::detail::rate_operands<Tile>();
  std::vector<float> sums(blocks * Tile::threads, -1.0f);
  cuda::ProductPlan plan;
  plan.row_tiles = blocks;
  plan.column_tiles = 1;
  cuda::run_tiles(
      on, "product_rate", plan,
      cuda::ProductRateProgram<Tile>{reinterpret_cast<const std::byte*>(tiles.data()), sums.data(), rounds});
  // the sum over rows and columns of A B is the product of A's column sums and B's row sums
  using Operand = typename Tile::Operand;
  const auto at = [&](int byte) {
    return static_cast<double>(tiles[static_cast<std::size_t>(byte) / sizeof(Operand)]);
  };
  const auto chunk_sum = [&]<class Layout>(Layout, int from, bool k_major, int mn, int k) {
    const int row = k_major ? mn : k, column = k_major ? k : mn;
    return at(from + Layout::offset(row, column / Tile::vector) +
              column % Tile::vector * static_cast<int>(sizeof(Operand)));
  };
  double expected = 0.0;
  for (int k = 0; k < Tile::depth; ++k) {
    double a = 0.0, b = 0.0;
    for (int i = 0; i < Tile::rows; ++i)
      a += chunk_sum(typename Tile::ATile{}, 0, Tile::a_major == cuda::Major::k, i, k);
    for (int j = 0; j < Tile::columns; ++j)
      b += chunk_sum(typename Tile::BTile{}, Tile::ATile::bytes, Tile::b_major == cuda::Major::k, j, k);
    expected += a * b;
  }
  CHECK(expected != 0.0);
  double first = 0.0;
  for (int block = 0; block < blocks; ++block) {
    double sum = 0.0;
    for (int t = 0; t < Tile::threads; ++t) sum += sums[static_cast<std::size_t>(block * Tile::threads + t)];
    CHECK(sum == doctest::Approx(rounds * expected).epsilon(1e-3));
    if (block == 0) first = sum;
    CHECK(sum == first);
  }
}

}  // namespace

TEST_CASE("the products whose rate is measured are products") {
  using cuda::Arithmetic;
  using cuda::Major;
  using cuda::TileKind;
  using cuda::TileOf;
  check_rate<TileOf<Arithmetic::exact, Major::k, TileKind::large>::type>(false);
  check_rate<TileOf<Arithmetic::tf32, Major::k, TileKind::large>::type>(false);
  check_rate<TileOf<Arithmetic::bf16, Major::k, TileKind::large>::type>(false);
  check_rate<TileOf<Arithmetic::tf32, Major::k, TileKind::warpgroup_large>::type>(true);
  check_rate<TileOf<Arithmetic::bf16, Major::k, TileKind::warpgroup_large>::type>(true);
}

TEST_CASE("rates are those of the work done") {
  const FragilePlatform platform(0);
  // any machine that runs this
  const double copies = cuda::detail::copy_rate(platform, std::size_t{1} << 20);
  CHECK(copies > 1e7);
  CHECK(copies < 1e14);
  const double products = cuda::detail::product_rate<cuda::Arithmetic::exact>(platform, 1, 1);
  CHECK(products > 1e4);
  CHECK(products < 1e13);
}

namespace {

/// "<path of a node>, <its op>: <the kernel>: launch failed: <the error of CUDA>"
void check_refused(const auto& compiled, const auto& work) {
  for (const int after : {0, 2, 5}) {
    FragileExecution::launches_left = after;
    const std::string message = message_of<cuda::Error>(work);
    FragileExecution::launches_left = std::numeric_limits<int>::max();
    CAPTURE(message);
    bool named = false;
    for (const Node& n : compiled.graph.nodes)
      named = named || message.rfind(path_of(compiled.graph, n.scope) + ", " + name_of(n.op) + ": ", 0) == 0;
    CHECK(named);
    CHECK(message.find(": launch failed: cudaErrorLaunchOutOfResources") != std::string::npos);
  }
}

}  // namespace

TEST_CASE("a launch that fails names the node, and nothing is done on the CPU instead") {
  Model<Net> model;
  const RandomBatch one = random_batch<Net>(1);
  const std::uint64_t before = model.hash();
  {
    Predictor<Net, Device> predictor{model};
    check_refused(Net::inference, [&] { predictor.predict(one.image_view); });
    CHECK_NOTHROW(predictor.predict(one.image_view));
  }
  Trainer<Net, CrossEntropy, Device> trainer{model, {}, {.batch = 1}};
  check_refused(Training::compiled, [&] { trainer.step(one.image_view, one.label_view); });
  CHECK(trainer.steps() == 0);
  CHECK(std::ranges::equal(model.parameters(), Model<Net>{}.parameters()));
  CHECK_NOTHROW(trainer.step(one.image_view, one.label_view));
  CHECK(model.hash() != before);
}

TEST_CASE("a profile names the node whose kernel failed on the device") {
  Model<Net> model;
  const RandomBatch one = random_batch<Net>(1);
  Predictor<Net, Device> predictor{model};
  predictor.predict(one.image_view);
  const Profile profile = predictor.profile(one.image_view, {.runs = 1, .machine = machine});
  FragilePlatform::waits_left = 4;  // a prediction, then nodes 0 to 3
  const std::string message = message_of<cuda::Error>([&] { predictor.profile(one.image_view, {.machine = machine}); });
  FragilePlatform::waits_left = std::numeric_limits<int>::max();
  const Node& failed = Net::inference.graph.nodes[profile.rows[3].node];
  CHECK(message == path_of(Net::inference.graph, failed.scope) + ", " + name_of(failed.op) +
                       ": the host: a kernel or copy failed: cudaErrorIllegalAddress");
}

TEST_CASE("too little device memory is refused before any is taken") {
  Model<Net> model;
  FragilePlatform::available = std::int64_t{1} << 20;
  const auto refused = [](const std::string& message) {
    CAPTURE(message);
    CHECK(message.rfind("the host: a batch of 10000 needs ", 0) == 0);
    CHECK(message.find(" MiB of device memory, 1.0 MiB are free; a batch of ") != std::string::npos);
    CHECK(message.find(" would fit") != std::string::npos);
  };
  refused(message_of<cuda::Error>([&] { Predictor<Net, Device>{model, 10000}; }));
  refused(message_of<cuda::Error>([&] { Trainer<Net, CrossEntropy, Device>{model, {}, {.batch = 10000}}; }));
  FragilePlatform::available = std::numeric_limits<std::int64_t>::max();
  CHECK_NOTHROW(Predictor<Net, Device>{model, 2});
}
