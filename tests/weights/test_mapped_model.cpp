// SPDX-License-Identifier: MIT
// Models that are files: the same numbers, changes that stay here, and what is refused.
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>

#include "temporary_folder.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/weights/mapped_model.hpp"

using namespace ulna;

namespace {

template <class... Options>
using Net = UNet<Classes<3>, Width<4>, Depth<1>, Options...>;
using P = Program<Net<>, Image<2, 8, 8>>;

/// A model whose every number is different.
Model<P> numbered() {
  Model<P> model{zeros};
  std::iota(model.mutable_parameters().begin(), model.mutable_parameters().end(), 0.5f);
  std::iota(model.mutable_state().begin(), model.mutable_state().end(), 0.25f);
  return model;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What map_model says about a file of these bytes.
template <class Q = P, class T = float>
std::string refusal(const std::filesystem::path& path, const std::string& bytes) {
  write_file_atomically(path, bytes);
  try {
    map_model<Q, T>(path);
  } catch (const WeightsError& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::uint64_t header_length(const std::string& bytes) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  return length;
}

/// The bytes with `spaces` more or, when negative, fewer at the end of the header.
std::string padded(std::string bytes, int spaces) {
  std::uint64_t length = header_length(bytes);
  if (spaces > 0) bytes.insert(sizeof length + length, std::string(static_cast<std::size_t>(spaces), ' '));
  if (spaces < 0)
    bytes.erase(sizeof length + length + static_cast<std::size_t>(std::ptrdiff_t{spaces}),
                static_cast<std::size_t>(-spaces));
  length += static_cast<std::uint64_t>(std::int64_t{spaces});
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}

}  // namespace

TEST_CASE("a mapped model has the numbers that were saved, aligned, and keeps its changes to itself") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.mapped";
  const Model<P> model = numbered();
  save_mappable(model, path, {{"trained_on", "cells"}});
  const std::string before = content(path);
  CHECK((header_length(before) + 8) % 64 == 0);
  CHECK(safetensors::File::open(path).metadata().at("trained_on") == "cells");

  Model<P> mapped = map_model<P>(path);
  CHECK(mapped.hash() == model.hash());
  CHECK(reinterpret_cast<std::uintptr_t>(mapped.parameters().data()) % 64 == 0);
  CHECK(mapped.copy().hash() == model.hash());

  mapped.mutable_parameters()[0] = -1.0f;
  mapped.mutable_state()[0] = -2.0f;
  CHECK(mapped.hash() != model.hash());
  CHECK(content(path) == before);
  CHECK(map_model<P>(path).hash() == model.hash());

  // It outlives the file's name, and a new file in its place.
  const Model<P> kept = map_model<P>(path);
  save_mappable(mapped, path);
  CHECK(kept.hash() == model.hash());
  CHECK(map_model<P>(path).hash() == mapped.hash());
  std::filesystem::remove(path);
  CHECK(kept.hash() == model.hash());
  CHECK_THROWS_AS(map_model<P>(path), FileError);
}

TEST_CASE("a mapped model of doubles; a network without parameters") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.mapped";
  const Model<P, double> wide{Seed{3}};
  save_mappable(wide, path);
  CHECK(map_model<P, double>(path).hash() == wide.hash());
  CHECK(contains(refusal(path, content(path)), "is F64 [9, 2, 4], a model of F32 was asked for"));

  using Empty = Program<Identity, Image<2, 8, 8>>;
  save_mappable(Model<Empty>{}, path);
  CHECK(map_model<Empty>(path).parameters().empty());
}

TEST_CASE("files that are not the model's memory are refused") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.mapped";
  const Model<P> model = numbered();
  save_mappable(model, path);
  const std::string sound = content(path);
  REQUIRE(refusal(path, sound) == "(nothing was thrown)");

  // Truncated anywhere, or longer.
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{100}, sound.size() / 2, sound.size() - 1})
    CHECK_MESSAGE(contains(refusal(path, sound.substr(0, size)), path.string()), size);
  CHECK(contains(refusal(path, sound + "x"), "1 bytes follow the last tensor"));

  // Numbers that a float cannot lie at; aligned to floats, though not to cache lines, is good enough.
  CHECK(contains(refusal(path, padded(sound, 1)), "does not lie where the model has it"));
  CHECK(refusal(path, padded(sound, 4)) == "(nothing was thrown)");

  // Of another network: other tensors, or the same ones with another meaning.
  using Wider = Program<UNet<Classes<3>, Width<8>, Depth<1>>, Image<2, 8, 8>>;
  CHECK(contains(refusal<Wider>(path, sound), "these weights belong to another network"));
  using Leaky = Program<Net<activation::LeakyReLU<>>, Image<2, 8, 8>>;
  CHECK(contains(refusal<Leaky>(path, sound), "every tensor agrees, but the file is of architecture"));

  // The same tensors in another order.
  {
    const auto file = safetensors::File::open(path);
    safetensors::Writer writer(file.metadata());
    for (std::size_t i = file.tensors().size(); i-- > 0;) writer.add(file.tensors()[i]);
    const auto bytes = writer.to_bytes();
    CHECK(contains(refusal(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}),
                   "does not lie where the model has it"));
  }

  // Each kind of file has its own door.
  save_weights(model, path);
  CHECK(contains(refusal(path, content(path)), "its layout is not stated"));
  write_file_atomically(path, sound);
  Model<P> other{Seed{5}};
  const std::uint64_t hash = other.hash();
  CHECK_THROWS_WITH_AS(load_weights(other, path),
                       (path.string() + ": its numbers are in memory order, for map_model; load_weights and " +
                        "load_model take the files of save_weights")
                           .c_str(),
                       WeightsError);
  CHECK(other.hash() == hash);
}

TEST_CASE("a model over buffers of the wrong size is refused") {
  CHECK_THROWS_AS((Model<P>{Buffer<float>(3), Buffer<float>(static_cast<std::size_t>(P::state_count))}), ArgumentError);
}
