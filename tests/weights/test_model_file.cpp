// SPDX-License-Identifier: MIT
// Models as files: names, layouts, and what is refused.
#include <doctest/doctest.h>

#include <numeric>
#include <set>

#include "temporary_folder.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/weights/model_file.hpp"

using namespace ulna;

namespace {

template <class... Options>
using Net = UNet<Classes<3>, Width<4>, Depth<1>, Options...>;
using P = Program<Net<>, Image<2, 8, 8>>;

template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const WeightsError& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A model whose every number is different.
Model<P> numbered() {
  Model<P> model{Seed{1}};
  std::iota(model.mutable_parameters().begin(), model.mutable_parameters().end(), 0.5f);
  std::iota(model.mutable_state().begin(), model.mutable_state().end(), 0.25f);
  return model;
}

const Parameter& parameter(const auto& graph, const std::string& name) {
  for (const Parameter& p : graph.parameters)
    if (name_of(graph, p) == name) return p;
  throw std::runtime_error("no parameter is called " + name);
}

}  // namespace

TEST_CASE("saving and loading is exact") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  const Model<P> model = numbered();
  save_weights(model, path, {.metadata = {{"trained_on", "cells"}}});
  Model<P> other{Seed{2}};
  const std::uint64_t revision = other.revision();
  load_weights(other, path);
  CHECK(other.hash() == model.hash());
  CHECK(other.revision() != revision);

  const auto file = safetensors::File::open(path);
  CHECK(file.metadata().at("trained_on") == "cells");
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.metadata().at("architecture").size() == 16);
  CHECK(file.tensors().size() == static_cast<std::size_t>(model.graph().parameters.size()));

  // In double, too, and from float to double.
  Model<P, double> wide{Seed{3}};
  load_weights(wide, path);
  for (std::size_t i = 0; i < wide.parameters().size(); ++i)
    REQUIRE(wide.parameters()[i] == static_cast<double>(model.parameters()[i]));
  wide.mutable_parameters()[0] = 1.0 / 3.0;
  save_weights(wide, path);
  Model<P, double> again{Seed{4}};
  load_weights(again, path);
  CHECK(again.hash() == wide.hash());
}

TEST_CASE("names follow the module path") {
  std::set<std::string> names;
  for (const Parameter& p : P::inference.graph.parameters) names.insert(name_of(P::inference.graph, p));
  std::set<std::string> expected{"head.weight", "head.bias", "decoder.0.up.weight", "decoder.0.up.bias"};
  for (const std::string block : {"encoder.0.", "bottleneck.", "decoder.0."})
    for (const std::string i : {"1", "2"}) {
      expected.insert(block + "conv" + i + ".weight");
      for (const std::string n : {"weight", "bias", "running_mean", "running_var"})
        expected.insert(block + "norm" + i + "." + n);
    }
  CHECK(names == expected);
}

TEST_CASE("files hold PyTorch's layout") {
  Model<P> model{Seed{1}};
  // A convolution from 2 to 4 channels as PyTorch keeps it: [out][in][row][column].
  const Parameter& conv = parameter(model.graph(), "encoder.0.conv1.weight");
  CHECK(file_shape(conv) == std::vector<std::uint64_t>{4, 2, 3, 3});
  std::vector<float> oihw(4 * 2 * 9);
  const auto value = [](int a, int b, int y, int x) { return static_cast<float>(1000 * a + 100 * b + 10 * y + x); };
  for (int o = 0; o < 4; ++o)
    for (int i = 0; i < 2; ++i)
      for (int y = 0; y < 3; ++y)
        for (int x = 0; x < 3; ++x) oihw[static_cast<std::size_t>(((o * 2 + i) * 3 + y) * 3 + x)] = value(o, i, y, x);
  std::vector<float> memory(oihw.size());
  to_memory_order<float>(conv, oihw, memory);
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 3; ++x)
      for (int i = 0; i < 2; ++i)
        for (int o = 0; o < 4; ++o)  // [tap][in][out]
          REQUIRE(memory[static_cast<std::size_t>(((y * 3 + x) * 2 + i) * 4 + o)] == value(o, i, y, x));
  std::vector<float> back(oihw.size());
  to_file_order<float>(conv, memory, back);
  CHECK(back == oihw);

  // A transposed convolution from 8 to 4 channels: [in][out][row][column].
  const Parameter& up = parameter(model.graph(), "decoder.0.up.weight");
  CHECK(file_shape(up) == std::vector<std::uint64_t>{8, 4, 2, 2});
  std::vector<float> iohw(8 * 4 * 4);
  for (int i = 0; i < 8; ++i)
    for (int o = 0; o < 4; ++o)
      for (int y = 0; y < 2; ++y)
        for (int x = 0; x < 2; ++x) iohw[static_cast<std::size_t>(((i * 4 + o) * 2 + y) * 2 + x)] = value(i, o, y, x);
  memory.resize(iohw.size());
  to_memory_order<float>(up, iohw, memory);
  for (int y = 0; y < 2; ++y)
    for (int x = 0; x < 2; ++x)
      for (int i = 0; i < 8; ++i)
        for (int o = 0; o < 4; ++o)
          REQUIRE(memory[static_cast<std::size_t>(((y * 2 + x) * 8 + i) * 4 + o)] == value(i, o, y, x));

  CHECK(file_shape(parameter(model.graph(), "head.bias")) == std::vector<std::uint64_t>{3});
}

TEST_CASE("a name map loads what others call otherwise") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "other.safetensors";
  const Model<P> model = numbered();
  const NameMap theirs = [](const std::string& n) {
    return n.starts_with("head.") ? "out" + n.substr(4) : "module." + n;
  };
  safetensors::Writer writer;
  std::vector<std::vector<float>> kept;
  for (const Parameter& p : model.graph().parameters) {
    kept.emplace_back(static_cast<std::size_t>(p.size()));
    to_file_order<float>(p, model.values(p), kept.back());
    writer.add<float>(theirs(name_of(model.graph(), p)), file_shape(p), kept.back());
  }
  const std::int64_t batches = 12;  // PyTorch's batch norm counts its batches
  writer.add<std::int64_t>("module.encoder.0.norm1.num_batches_tracked", {}, std::span(&batches, 1));
  writer.save(path);
  Model<P> other{Seed{2}};
  const auto file = safetensors::File::open(path);
  CHECK(contains(refusal([&] { load_weights(other, file); }), "missing     head.weight [3, 4, 1, 1]"));
  load_weights(other, file, theirs);
  CHECK(other.hash() == model.hash());
}

TEST_CASE("a file of another network is refused with every difference") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "other.safetensors";
  Model<P> model = numbered();
  const std::uint64_t before = model.hash();
  const std::uint64_t revision = model.revision();

  save_weights(Model<Program<UNet<Classes<2>, Width<4>, Depth<1>, ConvBias<true>>, Image<1, 8, 8>>>{}, path);
  const std::string said = refusal([&] { load_weights(model, path); });
  CHECK(said.starts_with(path.string() + ": these weights belong to another network; 9 tensors differ"));
  CHECK(contains(said, "\n  mis-shaped  encoder.0.conv1.weight: found [4, 1, 3, 3], expected [4, 2, 3, 3]"));
  CHECK(contains(said, "\n  mis-shaped  head.weight: found [2, 4, 1, 1], expected [3, 4, 1, 1]"));
  CHECK(contains(said, "\n  mis-shaped  head.bias: found [2], expected [3]"));
  for (const std::string block : {"encoder.0.conv1", "encoder.0.conv2", "bottleneck.conv1", "bottleneck.conv2"})
    CHECK(contains(said, "\n  unexpected  " + block + ".bias"));

  save_weights(Model<Program<Net<norm::None>, Image<2, 8, 8>>>{}, path);
  const std::string without_norm = refusal([&] { load_weights(model, path); });
  CHECK(contains(without_norm, "\n  missing     bottleneck.norm2.running_var [8]"));
  CHECK(contains(without_norm, "\n  unexpected  encoder.0.conv1.bias [4]"));

  // One tensor whose numbers are no floats.
  safetensors::Writer writer;
  std::vector<std::vector<float>> kept;
  const std::vector<std::int32_t> whole(3, 1);
  for (const Parameter& p : model.graph().parameters) {
    const std::string name = name_of(model.graph(), p);
    if (name == "head.bias") {
      writer.add<std::int32_t>(name, {3}, whole);
      continue;
    }
    kept.emplace_back(static_cast<std::size_t>(p.size()), 9.0f);
    writer.add<float>(name, file_shape(p), kept.back());
  }
  writer.save(path);
  CHECK(contains(refusal([&] { load_weights(model, path); }), "head.bias"));

  CHECK(model.hash() == before);
  CHECK(model.revision() == revision);
}

TEST_CASE("a file with others' names goes back through the same map") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "theirs.safetensors";
  const Model<P> model = numbered();
  const NameMap theirs = [](const std::string& n) { return "module." + n; };
  save_weights(model, path, {.map = theirs});
  const auto file = safetensors::File::open(path);
  CHECK(file.find("module.head.weight") != nullptr);
  CHECK(file.find("head.weight") == nullptr);
  Model<P> other{Seed{2}};
  load_weights(other, path, theirs);
  CHECK(other.hash() == model.hash());
  const std::uint64_t before = other.hash();
  const std::string said = refusal([&] { load_weights(other, path); });  // every name is missing, and is unexpected
  CHECK(contains(said, std::to_string(2 * model.graph().parameters.size()) + " tensors differ"));
  CHECK(contains(said, "\n  missing     bottleneck.conv1.weight [8, 4, 3, 3]"));
  CHECK(contains(said, "\n  unexpected  module.bottleneck.conv1.weight [8, 4, 3, 3]"));
  CHECK(other.hash() == before);
}

TEST_CASE("the same tensors of another architecture are refused with both hashes") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  using Leaky = Program<Net<activation::LeakyReLU<>>, Image<2, 8, 8>>;
  save_weights(Model<Leaky>{Seed{1}}, path);
  Model<P> model{Seed{2}};
  const std::uint64_t before = model.hash();
  const std::string said = refusal([&] { load_weights(model, path); });
  CHECK(contains(said, "every tensor agrees"));
  CHECK(contains(said, detail::hexadecimal(architecture_hash(Leaky::inference.graph))));
  CHECK(contains(said, detail::hexadecimal(architecture_hash(P::inference.graph))));
  CHECK(model.hash() == before);
  // Another extent is the same architecture, also where it is odd.
  using Odd = UNet<Classes<3>, Width<4>, Depth<1>, odd::Pad>;
  save_weights(Model<Program<Odd, Image<2, 9, 7>>>{Seed{1}}, path);
  Model<Program<Odd, Image<2, 16, 8>>> even{Seed{2}};
  CHECK_NOTHROW(load_weights(even, path));
}

TEST_CASE("a kernel of the other orientation is refused") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  Model<P> model = numbered();
  const std::uint64_t before = model.hash();
  safetensors::Writer writer;
  std::vector<std::vector<float>> kept;
  for (const Parameter& p : model.graph().parameters) {
    const std::string name = name_of(model.graph(), p);
    auto shape = file_shape(p);
    if (name == "decoder.0.up.weight" || name == "bottleneck.conv1.weight") std::swap(shape[0], shape[1]);
    kept.emplace_back(static_cast<std::size_t>(p.size()), 1.0f);
    writer.add<float>(name, shape, kept.back());
  }
  writer.save(path);
  const std::string said = refusal([&] { load_weights(model, path); });
  CHECK(contains(said, "; 2 tensors differ"));
  CHECK(contains(said, "mis-shaped  decoder.0.up.weight: found [4, 8, 2, 2], expected [8, 4, 2, 2]"));
  CHECK(contains(said, "mis-shaped  bottleneck.conv1.weight: found [4, 8, 3, 3], expected [8, 4, 3, 3]"));
  CHECK(model.hash() == before);
}

TEST_CASE("the architecture hash tells networks apart, not image extents") {
  const auto hash = [](auto program) { return architecture_hash(decltype(program)::inference.graph); };
  const std::uint64_t own = hash(P{});
  CHECK(own == hash(Program<Net<>, Image<2, 32, 16>>{}));
  CHECK(hash(Program<Net<padding::Valid, norm::None>, Image<2, 28, 32>>{}) ==
        hash(Program<Net<padding::Valid, norm::None>, Image<2, 44, 60>>{}));

  std::set<std::uint64_t> all{own};
  int networks = 1;
  const auto add = [&](auto program) {
    all.insert(hash(program));
    ++networks;
  };
  add(Program<Net<>, Image<1, 8, 8>>{});
  add(Program<UNet<Classes<2>, Width<4>, Depth<1>>, Image<2, 8, 8>>{});
  add(Program<UNet<Classes<3>, Width<8>, Depth<1>>, Image<2, 8, 8>>{});
  add(Program<UNet<Classes<3>, Width<4>, Depth<2>>, Image<2, 8, 8>>{});
  add(Program<Net<norm::None>, Image<2, 8, 8>>{});
  add(Program<Net<norm::Instance<>>, Image<2, 8, 8>>{});
  add(Program<Net<norm::Group<2>>, Image<2, 8, 8>>{});
  add(Program<Net<activation::LeakyReLU<>>, Image<2, 8, 8>>{});
  add(Program<Net<activation::LeakyReLU<std::ratio<1, 5>>>, Image<2, 8, 8>>{});
  add(Program<Net<padding::Reflect>, Image<2, 8, 8>>{});
  add(Program<Net<down::AveragePool>, Image<2, 8, 8>>{});
  add(Program<Net<down::StridedConv>, Image<2, 8, 8>>{});
  add(Program<Net<up::NearestConv<>>, Image<2, 8, 8>>{});
  add(Program<Net<up::BilinearConv<>>, Image<2, 8, 8>>{});
  add(Program<Net<up::BilinearConv<3, true>>, Image<2, 8, 8>>{});
  add(Program<Net<skip::Sum>, Image<2, 8, 8>>{});
  add(Program<Net<skip::ConcatUpFirst>, Image<2, 8, 8>>{});
  CHECK(all.size() == static_cast<std::size_t>(networks));
}

TEST_CASE("a model made from a file holds what was saved, without drawing numbers first") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "unet.safetensors";
  const Model<P> saved{Seed{5}};
  save_weights(saved, path);
  CHECK(load_model<P>(path).hash() == saved.hash());
  const Model<P> blank{zeros};
  CHECK(std::ranges::all_of(blank.parameters(), [](float v) { return v == 0.0f; }));
}
