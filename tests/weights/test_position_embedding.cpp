// SPDX-License-Identifier: MIT
// Position embeddings of other grids: numbers computed by hand, files and models.
#include "ulna/weights/position_embedding.hpp"

#include <doctest/doctest.h>

#include "temporary_folder.hpp"
#include "ulna/model/trans_unet.hpp"

using namespace ulna;

namespace {

using Net =
    TransUNet<Classes<2>, encoder::Patches<4>, Hidden<2>, Layers<1>, Heads<1>, Mlp<2>, Bridge<2>, Decoder<2, 2>>;
using Small = Program<Net, Image<1, 8, 8>>;    // 2 x 2 tokens
using Large = Program<Net, Image<1, 12, 12>>;  // 3 x 3
using Wide = Program<Net, Image<1, 4, 16>>;    // 1 x 4

template <class P>
const Parameter& position() {
  for (const Parameter& p : P::inference.graph.parameters)
    if (p.kind == ParameterKind::embedding) return p;
  throw ArgumentError("no position embedding");
}

template <class P>
std::vector<float> positions(const Model<P>& model) {
  const auto v = model.values(position<P>());
  return {v.begin(), v.end()};
}

std::vector<double> resized(const std::vector<double>& v, TokenGrid from, TokenGrid to) {
  return resized_positions(std::span<const double>(v), from, to);
}

/// Two channels: the second is the negative of the first.
std::vector<float> with_negative(const std::vector<float>& v) {
  std::vector<float> out;
  for (const float x : v) out.insert(out.end(), {x, -x});
  return out;
}

/// A file of model's weights with other positions.
template <class P>
std::vector<std::byte> file_with_positions(const Model<P>& model, std::vector<std::uint64_t> shape,
                                           const std::vector<float>& v) {
  safetensors::Writer writer;
  detail::FileOrdered<float> tensors;
  tensors.add(
      model.graph(), writer, own_name, [&](const Parameter& p) { return model.values(p); },
      [](const Parameter& p) { return p.kind != ParameterKind::embedding; });
  writer.add<float>("patches.position", std::move(shape), v);
  return writer.to_bytes();
}

}  // namespace

TEST_CASE("corners stay corners, the rest is linear between neighbours") {
  CHECK(resized({0, 2, 4, 8}, {2, 2}, {3, 3}) == std::vector<double>{0, 1, 2, 2, 3.5, 5, 4, 6, 8});
  CHECK(resized({0, 3, 9}, {1, 3}, {1, 5}) == std::vector<double>{0, 1.5, 3, 6, 9});
  CHECK(resized({0, 3, 9}, {3, 1}, {5, 1}) == std::vector<double>{0, 1.5, 3, 6, 9});
  const std::vector<double> thirds = resized({0, 3, 9}, {1, 3}, {1, 4});
  for (std::size_t i = 0; i < 4; ++i) CHECK(thirds[i] == doctest::Approx(std::vector<double>{0, 2, 5, 9}[i]));
  CHECK(resized({0, 1, 2, 3, 4, 5, 6, 7, 8}, {3, 3}, {2, 2}) == std::vector<double>{0, 2, 6, 8});
  CHECK(resized({5, 7}, {1, 1}, {2, 2}) == std::vector<double>{5, 7, 5, 7, 5, 7, 5, 7});
  CHECK(resized({1, 2, 3, 4}, {2, 2}, {1, 1}) == std::vector<double>{1});
  // channels do not mix
  CHECK(resized({0, 10, 2, 30}, {1, 2}, {1, 3}) == std::vector<double>{0, 10, 1, 20, 2, 30});
  CHECK_THROWS_WITH_AS(resized({1, 2, 3}, {2, 2}, {3, 3}), doctest::Contains("3 numbers"), ArgumentError);
}

TEST_CASE("a checkpoint of another grid loads when it is asked to, and not otherwise") {
  Model<Small> small{Seed{1}};
  const std::vector<float> grid = with_negative({0, 2, 4, 8});
  std::copy(grid.begin(), grid.end(), small.mutable_values(position<Small>()).begin());
  const TemporaryFolder folder;
  const auto path = folder.path() / "small.safetensors";
  save_weights(small, path);

  Model<Large> large{Seed{2}};
  const std::uint64_t before = large.hash();
  CHECK_THROWS_WITH_AS(load_weights(large, path), doctest::Contains("found [1, 4, 2], expected [1, 9, 2]"),
                       WeightsError);
  CHECK(large.hash() == before);
  const auto fitted = fit_position_embeddings<Large>(safetensors::File::open(path));
  load_weights(large, fitted);
  CHECK(positions(large) == with_negative({0, 1, 2, 2, 3.5, 5, 4, 6, 8}));
  for (int i = 0; i < Small::inference.graph.parameters.size(); ++i) {
    const Parameter& p = Small::inference.graph.parameters[i];
    if (p.kind == ParameterKind::embedding) continue;
    const auto a = small.values(p);
    const auto b = large.values(Large::inference.graph.parameters[i]);
    CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
  CHECK(at_extent<Large>(small).hash() == large.hash());
  CHECK(positions(at_extent<Wide>(small)) == with_negative({0, 2.0f / 3, 4.0f / 3, 2}));

  // What fits stays as it is.
  Model<Small> again{Seed{3}};
  load_weights(again, fit_position_embeddings<Small>(safetensors::File::open(path)));
  CHECK(again.hash() == small.hash());
}

TEST_CASE("a class token's position is dropped") {
  Model<Large> large{Seed{2}};
  const std::vector<float> stored = with_negative({100, 0, 2, 4, 8});
  const auto bytes = file_with_positions(large, {1, 5, 2}, stored);
  load_weights(large, fit_position_embeddings<Large>(safetensors::File::parse(bytes)));
  CHECK(positions(large) == with_negative({0, 1, 2, 2, 3.5, 5, 4, 6, 8}));

  Model<Small> small{Seed{2}};
  const auto same = file_with_positions(small, {1, 5, 2}, stored);
  CHECK_THROWS_AS(load_weights(small, safetensors::File::parse(same)), WeightsError);
  load_weights(small, fit_position_embeddings<Small>(safetensors::File::parse(same)));
  CHECK(positions(small) == with_negative({0, 2, 4, 8}));
}

TEST_CASE("grids that are not square are named") {
  Model<Wide> wide{Seed{2}};
  const auto bytes = file_with_positions(wide, {1, 3, 2}, with_negative({0, 3, 9}));
  const auto file = safetensors::File::parse(bytes, "odd.safetensors");
  CHECK_THROWS_WITH_AS(fit_position_embeddings<Wide>(file), doctest::Contains("3 positions; they form no square grid"),
                       WeightsError);
  CHECK_THROWS_WITH_AS(fit_position_embeddings<Wide>(file, own_name, {2, 2}),
                       doctest::Contains("a grid of 2 x 2 has 4"), WeightsError);
  load_weights(wide, fit_position_embeddings<Wide>(file, own_name, {1, 3}));
  CHECK(positions(wide) == with_negative({0, 2, 5, 9}));
  // Four positions fit as they are, unless they are said to be a square.
  const auto four = file_with_positions(wide, {1, 4, 2}, with_negative({0, 2, 4, 8}));
  load_weights(wide, fit_position_embeddings<Wide>(safetensors::File::parse(four)));
  CHECK(positions(wide) == with_negative({0, 2, 4, 8}));
  load_weights(wide, fit_position_embeddings<Wide>(safetensors::File::parse(four), own_name, {2, 2}));
  CHECK(positions(wide) == with_negative({0, 2.0f / 3, 4.0f / 3, 2}));
}

TEST_CASE("a file of another width is left for load_weights to refuse") {
  Model<Large> large{Seed{2}};
  const auto bytes = file_with_positions(large, {1, 4, 3}, std::vector<float>(12));
  CHECK_THROWS_WITH_AS(load_weights(large, fit_position_embeddings<Large>(safetensors::File::parse(bytes))),
                       doctest::Contains("found [1, 4, 3], expected [1, 9, 2]"), WeightsError);
}
