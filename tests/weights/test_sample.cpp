// SPDX-License-Identifier: MIT
// Weights files that carry a sample input and its output.
#include <doctest/doctest.h>

#include "temporary_folder.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/weights/sample.hpp"

using namespace ulna;

namespace {

using Net = UNet<Classes<3>, Width<4>, Depth<1>>;
using P = Program<Net, Image<2, 16, 12>>;
using Small = Program<Net, Image<2, 4, 6>>;
using B = cpu::Eigen<float>;

std::string refusal(auto call) {
  try {
    call();
  } catch (const WeightsError& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The file again, with some values of one tensor changed.
void tamper(const std::filesystem::path& path, const std::string& name, auto&& change) {
  const auto file = safetensors::File::open(path);
  safetensors::Writer writer{file.metadata()};
  std::vector<std::vector<float>> kept;
  for (const auto& t : file.tensors()) {
    kept.push_back(t.to_vector<float>());
    if (t.name == name) change(kept.back());
    writer.add<float>(t.name, t.shape, kept.back());
  }
  writer.save(path);
}

}  // namespace

TEST_CASE("a sample is written in PyTorch's order and checked at load") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  Model<P> model{Seed{1}};
  save_weights_with_sample<B, Small>(model, path, {.metadata = {{"trained_on", "cells"}}}, Seed{5});
  const auto file = safetensors::File::open(path);
  CHECK(file.metadata().at("trained_on") == "cells");
  const auto& input = file.at("sample.input");
  const auto& output = file.at("sample.output");
  CHECK(input.shape == std::vector<std::uint64_t>{1, 2, 4, 6});
  CHECK(output.shape == std::vector<std::uint64_t>{1, 3, 4, 6});

  // The logits of class c at pixel p stand at c * pixels + p, those of the image's channels likewise.
  const auto planes = input.to_vector<float>();
  std::vector<float> image;
  for (std::size_t p = 0; p < 24; ++p)
    for (std::size_t c = 0; c < 2; ++c) image.push_back(planes[c * 24 + p]);
  Predictor<Small, B> predictor{model};
  const auto logits = predictor.predict({image, 1, 4, 6, 2});
  const auto saved = output.to_vector<float>();
  for (int p = 0; p < 24; ++p)
    for (int c = 0; c < 3; ++c) REQUIRE(logits.pixel(0, p)[c] == saved[static_cast<std::size_t>(c * 24 + p)]);

  Model<P> other{Seed{2}};
  load_weights_with_sample<B, Small>(other, path);
  CHECK(other.hash() == model.hash());
  Model<P> plain{Seed{3}};
  load_weights(plain, path);  // whoever does not ask is not checked
  CHECK(plain.hash() == model.hash());
  Model<P, double> wide{Seed{4}};
  CHECK_NOTHROW((load_weights_with_sample<cpu::Eigen<double>, Small>(wide, path)));
}

TEST_CASE("a sample that comes out otherwise is refused, and the model stays as it was") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  Model<P> model{Seed{1}};
  Model<P> other{Seed{2}};
  const std::uint64_t before = other.hash();
  const auto check = [&](const std::string& text) {
    const std::string said = refusal([&] { load_weights_with_sample<B, Small>(other, path); });
    CHECK_MESSAGE(contains(said, text), said);
    CHECK(other.hash() == before);
  };

  save_weights_with_sample<B, Small>(model, path);
  tamper(path, "sample.output", [](auto& v) { v[0] += 1.0f; });
  check("at sample 0, row 0, column 0, channel 0 found the logit");
  save_weights_with_sample<B, Small>(model, path);
  tamper(path, "head.weight", [](auto& v) { v[1] += 1.0f; });
  check("the network makes something else of the file's sample");
  save_weights_with_sample<B, Small>(model, path);
  tamper(path, "sample.output", [](auto& v) { v[3] = std::nanf(""); });
  check("expected nan");
  save_weights_with_sample<B, Small>(model, path);
  tamper(path, "sample.input", [](auto& v) { v[3] = INFINITY; });
  check("sample.input holds values that are not finite");

  save_weights_with_sample<B>(model, path);  // of the model's own extents
  check("sample.input is [1, 2, 16, 12], the program that checks it has [1, 2, 4, 6]");
  save_weights(model, path);
  check("carries no sample.input");

  // Rounding is no difference.
  save_weights_with_sample<B, Small>(model, path);
  tamper(path, "sample.output", [](auto& v) {
    for (float& x : v) x *= 1.0001f;
  });
  CHECK_NOTHROW(load_weights_with_sample<B, Small>(other, path));
}
