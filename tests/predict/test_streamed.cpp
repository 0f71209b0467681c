// SPDX-License-Identifier: MIT
// Weights that do not stay in memory: the same bits, less memory, and no change that is lost.
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "../data/temporary_folder.hpp"
#include "../support/batch.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/frozen.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/weights/mapped_model.hpp"

using namespace ulna;
using ulna::testing::random_batch;
using ulna::testing::TemporaryFolder;

namespace {

using B = cpu::Tbb<float>;
using P = Program<UNet<Width<32>, Depth<3>>, Image<1, 32, 32>>;
using F = Frozen<P>;
constexpr auto parameter_bytes = static_cast<std::size_t>(F::parameter_count) * sizeof(float);

/// Bytes of the mappings of a file that are in this process's memory.
std::size_t resident_bytes(const std::filesystem::path& path) {
  std::ifstream maps("/proc/self/smaps");
  std::size_t bytes = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first.find('-') != std::string::npos) ours = line.ends_with(path.string());
    std::size_t kilobytes = 0;
    if (ours && first == "Rss:" && words >> kilobytes) bytes += 1024 * kilobytes;
  }
  return bytes;
}

std::vector<float> logits(auto& predictor, const ImagesView& images) {
  const Tensor<float> y = predictor.predict(images);
  std::vector<float> values;
  for (std::ptrdiff_t i = 0; i < y.pixels(); ++i)
    values.insert(values.end(), y.pixel(0, i), y.pixel(0, i) + y.shape.channels);
  return values;
}

}  // namespace

TEST_CASE("streamed weights give the same bits from less memory") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.frozen";
  save_mappable(freeze<B>(Model<P>{Seed{4}}, B{2}), path);
  const auto batch = random_batch<P>(1);

  std::vector<float> expected;
  {
    Model<F> kept = map_model<F>(path);
    Predictor<F, B> predictor{kept, 1, B{2}};
    expected = logits(predictor, batch.image_view);
    CHECK(resident_bytes(path) > parameter_bytes / 10 * 9);
  }
  Model<F> streamed = map_model<F>(path, {.bytes = 0});
  Predictor<F, B> predictor{streamed, 1, B{2}};
  for (int run = 0; run < 3; ++run) {
    CHECK(logits(predictor, batch.image_view) == expected);
    CHECK(resident_bytes(path) < parameter_bytes / 10);
  }

  Model<F> half = map_model<F>(path, {.bytes = parameter_bytes / 2});
  Predictor<F, B> of_half{half, 1, B{2}};
  for (int run = 0; run < 2; ++run) CHECK(logits(of_half, batch.image_view) == expected);
  CHECK(resident_bytes(path) > parameter_bytes / 5);
  CHECK(resident_bytes(path) < parameter_bytes / 10 * 7);
}

TEST_CASE("a streamed model that is changed keeps its changes") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.mapped";
  const Model<P> model{Seed{4}};
  save_mappable(model, path);
  const auto batch = random_batch<P>(1);

  // Not frozen: parameters are read when they changed, and given back then.
  Model<P> streamed = map_model<P>(path, {.bytes = 0});
  Model<P> kept = model.copy();
  Predictor<P, B> predictor{streamed, 1, B{2}};
  Predictor<P, B> reference{kept, 1, B{2}};
  const std::vector<float> before = logits(predictor, batch.image_view);
  CHECK(before == logits(reference, batch.image_view));
  CHECK(resident_bytes(path) < parameter_bytes / 10);

  for (auto* changed : {&streamed, &kept})
    for (float& v : changed->mutable_parameters()) v *= 1.25f;
  const std::vector<float> after = logits(predictor, batch.image_view);
  CHECK(after != before);
  CHECK(after == logits(reference, batch.image_view));
  CHECK(logits(predictor, batch.image_view) == after);
  CHECK(streamed.hash() == kept.hash());
}
