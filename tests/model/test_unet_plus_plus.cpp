// SPDX-License-Identifier: MIT
// U-Net++: parameter counts as published, pruning to the bit, and runs of small ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "../data/temporary_folder.hpp"
#include "../support/batch.hpp"
#include "../support/runs.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/weights/model_file.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

template <class Net, int Channels = 1>
constexpr std::int64_t parameters = Program<Net, Image<Channels, 32, 48>>::parameter_count;

using Whole = ZhouUNetPlusPlus<DeepSupervision<>>;
static_assert(parameters<ZhouUNetPlusPlus<>> == 9'041'601);
static_assert(parameters<Whole> == 9'041'700);
static_assert(parameters<prune<1, Whole>> == 100'961);
static_assert(parameters<prune<2, Whole>> == 511'105);
static_assert(parameters<prune<3, Whole>> == 2'204'961);
static_assert(parameters<prune<4, Whole>> == 9'041'601);
static_assert(parameters<Uiiurz1NestedUNet<>, 3> == 9'163'329);
static_assert(parameters<Uiiurz1NestedUNet<DeepSupervision<>>, 3> == 9'163'428);

// The values of a row share one buffer.
static_assert(Program<UNetPlusPlus<>, Image<1, 256, 256>>::inference_bytes(1) < 180'000'000);

// Rows of seven values are more than one node joins; the deepest network allowed still fits a graph.
using Deepest = UNetPlusPlus<Width<2>, Depth<6>, DeepSupervision<>>;
static_assert(Program<Deepest, Image<1, 64, 128>>::output_shape == Shape{2, 1, 64, 128});
static_assert(TrainingProgram<Program<Deepest, Image<1, 64, 128>>, CrossEntropy>::training_bytes(1) > 0);
// 188 -> 184 -> 92 -> 88; 88 -> 176 -> 172.
static_assert(Program<UNetPlusPlus<Width<2>, Depth<1>, padding::Valid>, Image<1, 188, 92>>::output_shape ==
              Shape{2, 1, 172, 76});

/// Nodes that neither the output nor a published value depends on.
constexpr int dead_nodes(const auto& graph) {
  FixedVector<bool, node_capacity> used{};
  for (int i = 0; i < graph.nodes.size(); ++i) used.push_back(i == graph.output);
  for (const Published& p : graph.published) used[p.node] = true;
  int dead = 0;
  for (int i = graph.nodes.size() - 1; i >= 0; --i) {
    if (!used[i]) ++dead;
    for (const int x : graph.nodes[i].input)
      if (x >= 0 && used[i]) used[x] = true;
  }
  return dead;
}

using Net = UNetPlusPlus<Classes<3>, Widths<16, 20, 33, 40>, DeepSupervision<>>;
using Input = Image<2, 24, 40>;
template <int L>
using PrunedProgram = Program<prune<L, Net>, Input>;
using P = Program<Net, Input>;

static_assert(dead_nodes(P::inference.graph) == 0);
static_assert(dead_nodes(PrunedProgram<1>::inference.graph) == 0);
static_assert(dead_nodes(PrunedProgram<2>::inference.graph) == 0);
static_assert(dead_nodes(PrunedProgram<3>::inference.graph) == 0);
static_assert(PrunedProgram<1>::alignment == 2 && PrunedProgram<2>::alignment == 4 && P::alignment == 8);

/// A model with numbers as after some training: no two alike, running statistics among them.
template <class Q>
Model<Q> scattered() {
  Model<Q> model;
  Random random{Seed{5}, 0};
  for (const Parameter& p : model.graph().parameters)
    for (float& v : model.mutable_values(p))
      v = p.kind == ParameterKind::running_variance || p.kind == ParameterKind::scale ? random.uniform(0.5f, 1.5f)
                                                                                      : 0.1f * random.normal();
  return model;
}

template <class T>
std::vector<T> values_of(const Tensor<T>& t) {
  std::vector<T> all;
  for (int n = 0; n < t.batch; ++n)
    for (std::ptrdiff_t i = 0; i < t.pixels(); ++i)
      all.insert(all.end(), t.pixel(n, i), t.pixel(n, i) + t.shape.channels);
  return all;
}

template <int L, class B>
void check_pruned(Predictor<P, B>& whole, const std::filesystem::path& file, const RandomBatch& batch) {
  using T = typename B::Element;
  Model<PrunedProgram<L>, T> model{Seed{9}};
  load_weights(model, file);
  Predictor<PrunedProgram<L>, B> predictor{model, batch.image_view.batch};
  const auto found = values_of(predictor.predict(batch.image_view));
  CHECK(found == values_of(whole.published("head[" + std::to_string(L) + "]/logits")));
  CHECK(*std::max_element(found.begin(), found.end()) > *std::min_element(found.begin(), found.end()));
}

}  // namespace

TEST_CASE_TEMPLATE("a pruned network is a head of the whole, to the bit", B, cpu::Eigen<double>, cpu::Tbb<float>) {
  using T = typename B::Element;
  const TemporaryFolder folder;
  const auto file = folder / "whole.safetensors";
  save_weights(scattered<P>(), file);
  Model<P, T> model;
  load_weights(model, file);
  const auto batch = random_batch<P>(3);
  Predictor<P, B> whole{model, 3};
  const auto average = values_of(whole.predict(batch.image_view));
  check_pruned<1, B>(whole, file, batch);
  check_pruned<2, B>(whole, file, batch);
  check_pruned<3, B>(whole, file, batch);

  const auto first = values_of(whole.published("head[1]/logits"));
  const auto second = values_of(whole.published("head[2]/logits"));
  const auto third = values_of(whole.published("head[3]/logits"));
  REQUIRE(average.size() == first.size());
  for (std::size_t i = 0; i < average.size(); ++i)
    REQUIRE(average[i] == doctest::Approx((first[i] + second[i] + third[i]) / 3).epsilon(1e-5));
  CHECK(message_of<ArgumentError>([&] { whole.published("head[4]/logits"); }).find("head[3]/logits") !=
        std::string::npos);
}

TEST_CASE("a pruned network takes the whole's files, its own, and no other") {
  using Q = PrunedProgram<2>;
  const TemporaryFolder folder;
  const auto file = folder / "net.safetensors";
  Model<Q> model{Seed{1}};
  const std::uint64_t before = model.hash();
  const auto refusal = [&] { return message_of<WeightsError>([&] { load_weights(model, file); }); };

  // A tensor that neither the part nor the whole has.
  save_weights(scattered<P>(), file, {.map = [](const std::string& name) {
                 return name == "level.3.node.0.conv1.weight" ? std::string("level.4.node.0.conv1.weight") : name;
               }});
  CHECK(contains(refusal(), "unexpected  level.4.node.0.conv1.weight [40, 33, 3, 3]"));

  // What the part leaves out has another shape than in the whole.
  using Wider = UNetPlusPlus<Classes<3>, Widths<16, 20, 33, 41>, DeepSupervision<>>;
  save_weights(Model<Program<Wider, Input>>{}, file);
  CHECK(contains(refusal(), "mis-shaped  level.3.node.0.conv1.weight: found [41, 33, 3, 3], expected [40, 33, 3, 3]"));

  // The same tensors with another meaning.
  using Leaky = UNetPlusPlus<Classes<3>, Widths<16, 20, 33, 40>, DeepSupervision<>, activation::LeakyReLU<>>;
  save_weights(Model<Program<Leaky, Input>>{}, file);
  CHECK(contains(refusal(), "architecture"));

  // Too little.
  save_weights(scattered<PrunedProgram<1>>(), file);
  CHECK(contains(refusal(), "missing     head.2.weight [3, 16, 1, 1]"));
  CHECK(model.hash() == before);

  save_weights(scattered<P>(), file);
  load_weights(model, file);
  const std::uint64_t loaded = model.hash();
  save_weights(model, file);
  Model<Q> again{Seed{2}};
  load_weights(again, file);
  CHECK(again.hash() == loaded);
  Model<P> whole{Seed{1}};
  CHECK(contains(message_of<WeightsError>([&] { load_weights(whole, file); }), "missing     level.3.node.0.conv1"));
}

TEST_CASE("a gate on every skip publishes its attention") {
  using Gated = Program<UNetPlusPlus<Width<4>, Depth<2>, gate::Popular<>, R2Blocks<>>, Image<1, 16, 24>>;
  std::set<std::string> paths;
  for (const Published& p : Gated::inference.graph.published) paths.insert(path_of(Gated::inference.graph, p));
  CHECK(paths ==
        std::set<std::string>{"level[0]/node[1]/skip[0]/gate/attention", "level[1]/node[1]/skip[0]/gate/attention",
                              "level[0]/node[2]/skip[0]/gate/attention", "level[0]/node[2]/skip[1]/gate/attention"});
  runs<UNetPlusPlus<Width<4>, Depth<2>, gate::Popular<>, R2Blocks<>>, 1, 16, 24>();
}

TEST_CASE("one class, odd widths, not square, all heads") {
  runs<Uiiurz1NestedUNet<Widths<5, 7, 9>, DeepSupervision<>>, 3, 20, 36, BinaryCrossEntropy>();
}
TEST_CASE("odd extents, the authors' order, instance norm") {
  runs<UNetPlusPlus<Widths<3, 4, 6>, odd::Pad, up::Transposed, skip::ConcatUpFirst, norm::Instance<>>, 1, 21, 30>();
}
TEST_CASE("sums instead of concatenations, the second head") {
  runs<UNetPlusPlus<Width<4>, Depth<3>, skip::Sum, up::NearestBlock<>, down::StridedConv,
                    DeepSupervision<heads::One<2>>>,
       2, 16, 8>();
}
