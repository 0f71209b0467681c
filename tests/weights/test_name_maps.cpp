// SPDX-License-Identifier: MIT
// Names of popular implementations, written down from their code, against what the maps make of ours.
#include <doctest/doctest.h>

#include <set>

#include "temporary_folder.hpp"
#include "ulna/model/published_unets.hpp"
#include "ulna/weights/name_maps/jvanvugt.hpp"
#include "ulna/weights/name_maps/milesial.hpp"

using namespace ulna;

namespace {

template <class P>
std::set<std::string> mapped(const NameMap& map) {
  std::set<std::string> names;
  for (const Parameter& p : P::inference.graph.parameters) names.insert(map(name_of(P::inference.graph, p)));
  CHECK(names.size() == static_cast<std::size_t>(P::inference.graph.parameters.size()));
  return names;
}

/// Each module's own tensors.
std::set<std::string> with(const std::vector<std::string>& modules, const std::vector<std::string>& tensors) {
  std::set<std::string> names;
  for (const auto& m : modules)
    for (const auto& t : tensors) names.insert(m + "." + t);
  return names;
}

/// Files of a network under a map load back, and nowhere else.
template <class P, class Other>
void round_trip(const NameMap& map, const NameMap& wrong) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "theirs.safetensors";
  const Model<P> model{Seed{1}};
  save_weights(model, path, {.map = map});
  Model<P> other{Seed{2}};
  const std::uint64_t before = other.hash();
  CHECK_THROWS_WITH_AS(load_weights(other, path, wrong), doctest::Contains("missing"), WeightsError);
  CHECK_THROWS_WITH_AS(load_weights(other, path), doctest::Contains("unexpected"), WeightsError);
  CHECK(other.hash() == before);
  load_weights(other, path, map);
  CHECK(other.hash() == model.hash());
  Model<Other> deeper{Seed{2}};
  const std::uint64_t untouched = deeper.hash();
  CHECK_THROWS_WITH_AS(load_weights(deeper, path, map), doctest::Contains("mis-shaped"), WeightsError);
  CHECK(deeper.hash() == untouched);
}

const std::vector<std::string> conv{"weight", "bias"};
const std::vector<std::string> norm_tensors{"weight", "bias", "running_mean", "running_var"};

}  // namespace

TEST_CASE("jvanvugt") {
  using P = Program<JvanvugtUNet<Width<2>, Depth<2>>, Image<1, 44, 44>>;
  const auto names = with({"down_path.0.block.0", "down_path.0.block.2", "down_path.1.block.0", "down_path.1.block.2",
                           "down_path.2.block.0", "down_path.2.block.2", "up_path.0.up", "up_path.0.conv_block.block.0",
                           "up_path.0.conv_block.block.2", "up_path.1.up", "up_path.1.conv_block.block.0",
                           "up_path.1.conv_block.block.2", "last"},
                          conv);
  CHECK(mapped<P>(name_maps::jvanvugt(2)) == names);
  const auto map = name_maps::jvanvugt();
  CHECK(map("encoder.3.conv2.bias") == "down_path.3.block.2.bias");
  CHECK(map("bottleneck.conv1.weight") == "down_path.4.block.0.weight");
  CHECK(map("decoder.3.up.weight") == "up_path.0.up.weight");
  CHECK(map("decoder.0.conv1.weight") == "up_path.3.conv_block.block.0.weight");
  round_trip<P, Program<JvanvugtUNet<Width<4>, Depth<2>>, Image<1, 44, 44>>>(name_maps::jvanvugt(2),
                                                                             name_maps::jvanvugt(3));
}

TEST_CASE("milesial") {
  const std::vector<std::string> blocks{"inc",
                                        "down1.maxpool_conv.1",
                                        "down2.maxpool_conv.1",
                                        "down3.maxpool_conv.1",
                                        "down4.maxpool_conv.1",
                                        "up1.conv",
                                        "up2.conv",
                                        "up3.conv",
                                        "up4.conv"};
  std::set<std::string> names;
  for (const auto& b : blocks) {
    names.merge(with({b + ".double_conv.0", b + ".double_conv.3"}, {"weight"}));
    names.merge(with({b + ".double_conv.1", b + ".double_conv.4"}, norm_tensors));
  }
  names.merge(with({"outc.conv"}, conv));
  using Bilinear = Program<MilesialBilinearUNet<Width<2>>, Image<3, 32, 32>>;
  CHECK(mapped<Bilinear>(name_maps::milesial()) == names);
  names.merge(with({"up1.up", "up2.up", "up3.up", "up4.up"}, conv));
  using P = Program<MilesialUNet<Width<2>>, Image<3, 32, 32>>;
  CHECK(mapped<P>(name_maps::milesial()) == names);
  const auto map = name_maps::milesial();
  CHECK(map("decoder.3.up.weight") == "up1.up.weight");
  CHECK(map("bottleneck.norm2.running_var") == "down4.maxpool_conv.1.double_conv.4.running_var");
  round_trip<P, Program<MilesialUNet<Width<4>>, Image<3, 32, 32>>>(name_maps::milesial(), name_maps::jvanvugt());
}

TEST_CASE("a map for another kind of network names nothing that exists") {
  CHECK(name_maps::milesial()("scores.pool4.weight") == "scores.pool4.weight");
  CHECK(name_maps::jvanvugt()("scores.pool4.weight") == "scores.pool4.weight");
}
