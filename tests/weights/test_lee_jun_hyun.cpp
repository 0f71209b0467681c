// SPDX-License-Identifier: MIT
// Names of LeeJunHyun/Image_Segmentation, written down from its networks, against what the map makes of ours.
#include <doctest/doctest.h>

#include <set>

#include "temporary_folder.hpp"
#include "ulna/model/published_unets.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/weights/name_maps/lee_jun_hyun.hpp"

using namespace ulna;

namespace {

using Names = std::set<std::string>;
using Paths = std::vector<std::string>;

template <class Net>
using P = Program<Net, Image<3, 16, 16>>;
using Small = Width<2>;
using Shared = R2Blocks<recurrent::SharedStatistics>;

template <class Net>
Names mapped(int depth = 4) {
  const NameMap map = name_maps::lee_jun_hyun(depth);
  Names names;
  for (const Parameter& p : P<Net>::inference.graph.parameters)
    CHECK(names.insert(map(name_of(P<Net>::inference.graph, p))).second);
  return names;
}

/// Adds module.path.tensor for a convolution and, where given, a norm that follows it.
void add(Names& names, const Paths& modules, const std::string& convolution, const std::string& norm = "") {
  for (const auto& m : modules) {
    for (const std::string tensor : {"weight", "bias"}) names.insert(m + "." + convolution + "." + tensor);
    if (norm.empty()) continue;
    for (const std::string tensor : {"weight", "bias", "running_mean", "running_var"})
      names.insert(m + "." + norm + "." + tensor);
  }
}

void add_head_and_up(Names& names) {
  names.insert({"Conv_1x1.weight", "Conv_1x1.bias"});
  add(names, {"Up5", "Up4", "Up3", "Up2"}, "up.1", "up.2");
}
void add_plain_blocks(Names& names) {
  const Paths blocks{"Conv1", "Conv2", "Conv3", "Conv4", "Conv5", "Up_conv5", "Up_conv4", "Up_conv3", "Up_conv2"};
  add(names, blocks, "conv.0", "conv.1");
  add(names, blocks, "conv.3", "conv.4");
}
void add_r2_blocks(Names& names) {
  const Paths blocks{"RRCNN1",    "RRCNN2",    "RRCNN3",    "RRCNN4",   "RRCNN5",
                     "Up_RRCNN5", "Up_RRCNN4", "Up_RRCNN3", "Up_RRCNN2"};
  add(names, blocks, "RCNN.0.conv.0", "RCNN.0.conv.1");
  add(names, blocks, "RCNN.1.conv.0", "RCNN.1.conv.1");
  add(names, blocks, "Conv_1x1");
}
void add_gates(Names& names) {
  const Paths gates{"Att5", "Att4", "Att3", "Att2"};
  add(names, gates, "W_g.0", "W_g.1");
  add(names, gates, "W_x.0", "W_x.1");
  add(names, gates, "psi.0", "psi.1");
}

}  // namespace

TEST_CASE("U_Net, AttU_Net, R2U_Net and R2AttU_Net") {
  Names names;
  add_head_and_up(names);
  SUBCASE("U_Net") {
    add_plain_blocks(names);
    CHECK(mapped<LeeJunHyunUNet<Small>>() == names);
  }
  SUBCASE("AttU_Net") {
    add_plain_blocks(names);
    add_gates(names);
    CHECK(mapped<AttentionUNet<Small>>() == names);
  }
  SUBCASE("R2U_Net") {
    add_r2_blocks(names);
    CHECK(mapped<R2UNet<Small, Shared>>() == names);
    CHECK(mapped<R2UNet<Small, R2Blocks<Steps<3>, recurrent::SharedStatistics>>>() == names);
  }
  SUBCASE("R2AttU_Net") {
    add_r2_blocks(names);
    add_gates(names);
    CHECK(mapped<R2AttUNet<Small, Shared>>() == names);
  }
}

TEST_CASE("levels go where they belong") {
  const NameMap map = name_maps::lee_jun_hyun();
  CHECK(map("encoder.0.conv1.weight") == "Conv1.conv.0.weight");
  CHECK(map("encoder.3.norm2.running_var") == "Conv4.conv.4.running_var");
  CHECK(map("bottleneck.rec2.norm.bias") == "RRCNN5.RCNN.1.conv.1.bias");
  CHECK(map("decoder.3.up.conv.weight") == "Up5.up.1.weight");
  CHECK(map("decoder.0.up.norm.weight") == "Up2.up.2.weight");
  CHECK(map("decoder.0.gate.g_conv.weight") == "Att2.W_g.0.weight");
  CHECK(map("decoder.2.proj.bias") == "Up_RRCNN4.Conv_1x1.bias");
  CHECK(map("something.else") == "something.else");
  CHECK(name_maps::lee_jun_hyun(2)("bottleneck.conv2.weight") == "Conv3.conv.3.weight");
}

TEST_CASE("their files load, and into no other network") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "theirs.safetensors";
  const NameMap map = name_maps::lee_jun_hyun();
  const Model<P<R2AttUNet<Small, Shared>>> model{Seed{1}};
  save_weights(model, path, {.map = map});
  Model<P<R2AttUNet<Small, Shared>>> same{Seed{2}};
  load_weights(same, path, map);
  CHECK(same.hash() == model.hash());

  const auto refused = [&](auto other, const NameMap& names, const char* why) {
    const std::uint64_t before = other.hash();
    CHECK_THROWS_WITH_AS(load_weights(other, path, names), doctest::Contains(why), WeightsError);
    CHECK(other.hash() == before);
  };
  using Model2 = Model<P<R2AttUNet<Small, Shared>>>;
  refused(Model2{Seed{2}}, name_maps::lee_jun_hyun(3),
          "mis-shaped  RRCNN4.Conv_1x1.bias");  // bottleneck taken for a level
  refused(Model2{Seed{2}}, own_name, "unexpected  Att2.W_g.0.weight [1, 2, 1, 1]");
  refused(Model<P<R2AttUNet<Small>>>{Seed{2}}, map,
          "missing     RRCNN1.RCNN.0.conv.1.step.0.running_mean");  // statistics of each step
  refused(Model<P<R2UNet<Small, Shared>>>{Seed{2}}, map, "unexpected  Att5.psi.1.running_var");
  refused(Model<P<R2AttUNet<Small, R2Blocks<recurrent::SharedStatistics, recurrent::SeparateKernels>>>>{Seed{2}}, map,
          "missing");
}
