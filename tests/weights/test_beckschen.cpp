// SPDX-License-Identifier: MIT
// Names of Beckschen/TransUNet's state_dict, written down from its modules, against what the map makes of ours.
#include <doctest/doctest.h>

#include <set>

#include "temporary_folder.hpp"
#include "ulna/model/trans_unet.hpp"
#include "ulna/weights/name_maps/beckschen.hpp"

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
void add(std::set<std::string>& names, const std::string& prefix, const std::vector<std::string>& modules,
         const std::vector<std::string>& tensors) {
  for (const auto& m : modules)
    for (const auto& t : tensors) names.insert(prefix + m + "." + t);
}

const std::vector<std::string> weight{"weight"};
const std::vector<std::string> affine{"weight", "bias"};
const std::vector<std::string> batch_norm{"weight", "bias", "running_mean", "running_var"};

void add_encoder_layer(std::set<std::string>& names, const std::string& number) {
  add(names, "transformer.encoder.layer." + number + ".",
      {"attention_norm", "ffn_norm", "ffn.fc1", "ffn.fc2", "attn.query", "attn.key", "attn.value", "attn.out"}, affine);
}

void add_decoder(std::set<std::string>& names, const std::vector<std::string>& blocks) {
  add(names, "decoder.conv_more.", {"0"}, weight);
  add(names, "decoder.conv_more.", {"1"}, batch_norm);
  for (const std::string& i : blocks) {
    add(names, "decoder.blocks." + i + ".", {"conv1.0", "conv2.0"}, weight);
    add(names, "decoder.blocks." + i + ".", {"conv1.1", "conv2.1"}, batch_norm);
  }
  add(names, "segmentation_head.", {"0"}, affine);
}

using Hybrid = TransUNet<Classes<3>, Hidden<4>, Layers<11>, Heads<2>, Mlp<4>, Units<2, 1, 1>, Width<4>, Groups<2>,
                         Bridge<4>, Decoder<4, 4, 4, 4>>;
using P = Program<Hybrid, Image<3, 32, 32>>;

}  // namespace

TEST_CASE("hybrid encoder") {
  std::set<std::string> names{"transformer.embeddings.position_embeddings"};
  const std::string resnet = "transformer.embeddings.hybrid_model.";
  add(names, resnet, {"root.conv"}, weight);
  add(names, resnet, {"root.gn"}, affine);
  for (const char* unit : {"block1.unit1.", "block1.unit2.", "block2.unit1.", "block3.unit1."}) {
    add(names, resnet + "body." + unit, {"conv1", "conv2", "conv3"}, weight);
    add(names, resnet + "body." + unit, {"gn1", "gn2", "gn3"}, affine);
  }
  for (const char* unit : {"block1.unit1.", "block2.unit1.", "block3.unit1."}) {
    add(names, resnet + "body." + unit, {"downsample"}, weight);
    add(names, resnet + "body." + unit, {"gn_proj"}, affine);
  }
  add(names, "transformer.embeddings.", {"patch_embeddings"}, affine);
  for (int i = 0; i < 11; ++i) add_encoder_layer(names, std::to_string(i));
  add(names, "transformer.encoder.", {"encoder_norm"}, affine);
  add_decoder(names, {"0", "1", "2", "3"});
  CHECK(mapped<P>(name_maps::beckschen()) == names);
}

TEST_CASE("patches of the image") {
  using Net =
      TransUNet<Classes<3>, encoder::Patches<8>, Hidden<4>, Layers<1>, Heads<2>, Mlp<4>, Bridge<4>, Decoder<4, 4, 4>>;
  std::set<std::string> names{"transformer.embeddings.position_embeddings"};
  add(names, "transformer.embeddings.", {"patch_embeddings"}, affine);
  add_encoder_layer(names, "0");
  add(names, "transformer.encoder.", {"encoder_norm"}, affine);
  add_decoder(names, {"0", "1", "2"});
  CHECK(mapped<Program<Net, Image<3, 16, 16>>>(name_maps::beckschen(3)) == names);
}

TEST_CASE("files under these names load back, and nowhere else") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "theirs.safetensors";
  const NameMap map = name_maps::beckschen();
  const Model<P> model{Seed{1}};
  save_weights(model, path, {.map = map});
  const auto file = safetensors::File::open(path);
  CHECK(file.at("transformer.embeddings.hybrid_model.body.block3.unit1.downsample.weight").shape ==
        std::vector<std::uint64_t>{64, 32, 1, 1});
  CHECK(file.at("decoder.blocks.0.conv1.0.weight").shape == std::vector<std::uint64_t>{4, 36, 3, 3});
  CHECK(file.at("transformer.encoder.layer.10.ffn.fc1.weight").shape == std::vector<std::uint64_t>{4, 4});
  CHECK(file.at("transformer.embeddings.position_embeddings").shape == std::vector<std::uint64_t>{1, 4, 4});
  Model<P> other{Seed{2}};
  const std::uint64_t before = other.hash();
  CHECK_THROWS_WITH_AS(load_weights(other, path), doctest::Contains("unexpected"), WeightsError);
  CHECK_THROWS_WITH_AS(load_weights(other, path, name_maps::beckschen(3)), doctest::Contains("missing"), WeightsError);
  CHECK(other.hash() == before);
  load_weights(other, path, map);
  CHECK(other.hash() == model.hash());
}
