// SPDX-License-Identifier: MIT
// Names of 4uiiurz1/pytorch-nested-unet, written down from its code, against what the map makes of ours.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "temporary_folder.hpp"
#include "ulna/model/published_unets.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/weights/name_maps/uiiurz1.hpp"

using namespace ulna;

namespace {

template <class Net>
using P = Program<Net, Image<3, 16, 16>>;

template <class Net>
std::set<std::string> mapped() {
  const auto& graph = P<Net>::inference.graph;
  std::set<std::string> names;
  for (const Parameter& p : graph.parameters) names.insert(name_maps::uiiurz1()(name_of(graph, p)));
  CHECK(names.size() == static_cast<std::size_t>(graph.parameters.size()));
  return names;
}

std::set<std::string> tensors_of(const std::vector<std::string>& blocks, const std::vector<std::string>& heads) {
  std::set<std::string> names;
  for (const auto& b : blocks)
    for (const std::string i : {"1", "2"}) {
      for (const std::string t : {"weight", "bias"}) names.insert(b + ".conv" + i + "." + t);
      for (const std::string t : {"weight", "bias", "running_mean", "running_var"})
        names.insert(b + ".bn" + i + "." + t);
    }
  for (const auto& h : heads) names.merge(std::set<std::string>{h + ".weight", h + ".bias"});
  return names;
}

const std::vector<std::string> nested{"conv0_0", "conv1_0", "conv2_0", "conv3_0", "conv4_0",
                                      "conv0_1", "conv1_1", "conv2_1", "conv3_1", "conv0_2",
                                      "conv1_2", "conv2_2", "conv0_3", "conv1_3", "conv0_4"};

using Supervised = Uiiurz1NestedUNet<Width<2>, DeepSupervision<heads::Last>>;

}  // namespace

TEST_CASE("NestedUNet") {
  CHECK(mapped<Uiiurz1NestedUNet<Width<2>>>() == tensors_of(nested, {"final"}));
  CHECK(mapped<Supervised>() == tensors_of(nested, {"final1", "final2", "final3", "final4"}));
}

TEST_CASE("UNet") {
  CHECK(mapped<Uiiurz1UNet<Width<2>>>() ==
        tensors_of({"conv0_0", "conv1_0", "conv2_0", "conv3_0", "conv4_0", "conv3_1", "conv2_2", "conv1_3", "conv0_4"},
                   {"final"}));
}

TEST_CASE("layers that this code does not have keep their names") {
  const NameMap map = name_maps::uiiurz1();
  for (const std::string name : {"level.1.node.2.up.weight", "level.0.node.1.skip.0.gate.psi_conv.bias",
                                 "level.2.down.weight", "decoder.3.up.weight", "trunk.stem.conv.weight"})
    CHECK(map(name) == name);
}

TEST_CASE("their checkpoints load, into pruned networks too") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  const NameMap map = name_maps::uiiurz1();
  const Model<P<Supervised>> model{Seed{1}};
  // As PyTorch writes it: no architecture, and counters of batch norm.
  {
    safetensors::Writer writer{{{"format", "pt"}}};
    detail::FileOrdered<float> tensors;
    tensors.add(
        model.graph(), writer, map, [&](const Parameter& p) { return model.values(p); },
        [](const Parameter&) { return true; });
    const std::vector<std::int64_t> count{7};
    writer.add<std::int64_t>("conv0_0.bn1.num_batches_tracked", {}, count);
    writer.save(path);
  }
  Model<P<Supervised>> whole{Seed{2}};
  load_weights(whole, path, map);
  CHECK(whole.hash() == model.hash());

  Model<P<prune<2, Supervised>>> pruned{Seed{2}};
  load_weights(pruned, path, map);
  for (const Parameter& p : pruned.graph().parameters) {
    const auto same = [&](const Parameter& q) { return name_of(model.graph(), q) == name_of(pruned.graph(), p); };
    const auto& all = model.graph().parameters;
    const auto found = std::find_if(all.begin(), all.end(), same);
    REQUIRE(found != all.end());
    CHECK(std::equal(pruned.values(p).begin(), pruned.values(p).end(), model.values(*found).begin()));
  }

  // Without deep supervision there is one head of another name.
  Model<P<Uiiurz1NestedUNet<Width<2>>>> single{Seed{2}};
  const std::uint64_t before = single.hash();
  CHECK_THROWS_WITH_AS(load_weights(single, path, map), doctest::Contains("missing     final.weight"), WeightsError);
  CHECK_THROWS_WITH_AS(load_weights(single, path, map), doctest::Contains("unexpected  final3.bias"), WeightsError);
  CHECK_THROWS_AS(load_weights(whole, path), WeightsError);
  CHECK(single.hash() == before);
}
