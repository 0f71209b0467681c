// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <thread>
#include <vector>

#include "temporary_folder.hpp"
#include "ulna/data/loader.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;

namespace {

/// `count` samples of different sizes; every pixel of sample i is i, its label i, its weight 10 i.
std::vector<Sample> constants(int count, bool weights = false) {
  std::vector<Sample> samples;
  for (int i = 0; i < count; ++i) {
    Sample sample{"sample " + std::to_string(i), make_image(16 + i, 20), make_labels(16 + i, 20), {}};
    std::fill(sample.image.begin(), sample.image.end(), static_cast<float>(i));
    std::fill(sample.labels.begin(), sample.labels.end(), static_cast<std::uint8_t>(i));
    if (weights) {
      sample.weights = detail::make_array<WeightArray>(16 + i, 20);
      std::fill(sample.weights.begin(), sample.weights.end(), static_cast<float>(10 * i));
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

std::vector<Sample> textured(int count) {
  std::vector<Sample> samples = constants(count);
  for (Sample& sample : samples) {
    for (std::size_t i = 0; i < sample.image.size(); ++i) sample.image.data()[i] += 0.01f * static_cast<float>(i % 97);
  }
  return samples;
}

Augmentation strong() {
  Augmentation options = Augmentation::dihedral();
  options.elastic_probability = 0.5f;
  options.elastic_sigma = 2;
  options.noise = 0.2f;
  return options;
}

struct Content {
  std::vector<float> images;
  std::vector<std::uint8_t> labels;
  bool operator==(const Content&) const = default;
};

Content content(const Batch& batch) {
  return {{batch.images.begin(), batch.images.end()}, {batch.labels.begin(), batch.labels.end()}};
}

std::vector<Content> first_batches(int count, const LoaderOptions& options, Seed seed = {3}) {
  Loader loader(textured(7), strong(), 3, 12, 10, seed, options);
  std::vector<Content> batches;
  for (int i = 0; i < count; ++i) batches.push_back(content(loader.next()));
  return batches;
}

}  // namespace

TEST_CASE("batches have the asked extents, and labels and weights of their images") {
  Loader loader(constants(4, true), Augmentation{}, 5, 12, 8, Seed{1});
  for (std::uint64_t step = 0; step < 10; ++step) {
    const Batch& batch = loader.next();
    CHECK(batch.step == step);
    CHECK(batch.images.shape() == ImageBatch::shape_type{5, 12, 8, 1});
    CHECK(batch.labels.shape() == LabelBatch::shape_type{5, 12, 8});
    CHECK(batch.weights.shape() == WeightBatch::shape_type{5, 12, 8});
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(batch.images(i, 11, 7, 0) == batch.labels(i, 11, 7));
      CHECK(batch.weights(i, 0, 0) == 10.0f * batch.images(i, 0, 0, 0));
    }
  }
  CHECK(loader.steps_per_epoch() == 1);
}

TEST_CASE("every epoch visits every sample once, in another order") {
  Loader loader(constants(7), Augmentation{}, 3, 8, 8, Seed{2});
  std::vector<int> drawn;
  for (int step = 0; step < 70; ++step) {
    const Batch& batch = loader.next();
    for (std::size_t i = 0; i < 3; ++i) drawn.push_back(batch.labels(i, 0, 0));
  }
  std::map<std::vector<int>, int> orders;
  for (std::size_t epoch = 0; epoch < 30; ++epoch) {
    std::vector<int> order(drawn.begin() + static_cast<std::ptrdiff_t>(7 * epoch),
                           drawn.begin() + static_cast<std::ptrdiff_t>(7 * epoch + 7));
    ++orders[order];
    std::sort(order.begin(), order.end());
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6});
  }
  CHECK(orders.size() > 25);
  CHECK(loader.steps_per_epoch() == 3);
}

TEST_CASE("epoch_order is uniform: each sample comes first about equally often") {
  std::vector<int> first(5);
  for (std::uint64_t epoch = 0; epoch < 5000; ++epoch) ++first[static_cast<std::size_t>(epoch_order({9}, epoch, 5)[0])];
  for (const int count : first) {
    CHECK(count > 850);  // expected 1000, deviation 28
    CHECK(count < 1150);
  }
}

TEST_CASE("content does not depend on threads, prefetching or timing, and does on the seed") {
  const auto reference = first_batches(20, {});
  CHECK(first_batches(20, {.threads = 3, .prefetch = 1}) == reference);
  CHECK(first_batches(20, {.threads = 2, .prefetch = 7}) == reference);
  CHECK_FALSE(first_batches(20, {}, Seed{4}) == reference);
  Loader loader(textured(7), strong(), 3, 12, 10, Seed{3});
  for (int i = 0; i < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));
    CHECK(content(loader.next()) == reference[static_cast<std::size_t>(i)]);
  }
}

TEST_CASE("after seek the batches are those of that step, forwards and backwards") {
  const auto reference = first_batches(20, {});
  Loader loader(textured(7), strong(), 3, 12, 10, Seed{3}, {.threads = 2});
  for (const std::uint64_t step : {13ull, 2ull, 2ull, 0ull, 17ull}) {
    loader.seek(step);
    for (std::uint64_t i = step; i < std::min(step + 3, std::uint64_t{20}); ++i) {
      const Batch& batch = loader.next();
      CHECK(batch.step == i);
      CHECK(content(batch) == reference[static_cast<std::size_t>(i)]);
    }
  }
}

TEST_CASE("the memory of batches is reused") {
  Loader loader(constants(4), Augmentation{}, 2, 8, 8, Seed{5}, {.prefetch = 3});
  std::map<const float*, int> places;
  for (int i = 0; i < 30; ++i) ++places[loader.next().images.data()];
  CHECK(places.size() == 3);
}

TEST_CASE("a delivered batch stays untouched until the next call") {
  Loader loader(textured(5), strong(), 2, 12, 10, Seed{6}, {.threads = 2, .prefetch = 3});
  for (int i = 0; i < 5; ++i) {
    const Batch& batch = loader.next();
    const Content before = content(batch);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(content(batch) == before);
  }
}

TEST_CASE("on_batch changes batches before they are delivered") {
  LoaderOptions options;
  options.on_batch = [](Batch& batch) {
    batch.weights = detail::make_array<WeightBatch>(2, 8, 8);
    std::fill(batch.weights.begin(), batch.weights.end(), static_cast<float>(batch.step));
  };
  Loader loader(constants(3), Augmentation{}, 2, 8, 8, Seed{7}, options);
  for (int step = 0; step < 6; ++step) CHECK(loader.next().weights(1, 7, 7) == static_cast<float>(step));
}

TEST_CASE("an exception in the background reaches the consumer, at its step, and stays until seek") {
  LoaderOptions options{.threads = 2};
  options.on_batch = [](const Batch& batch) {
    if (batch.step == 4) throw DataError("step four");
  };
  Loader loader(constants(3), Augmentation{}, 2, 8, 8, Seed{8}, options);
  for (std::uint64_t step = 0; step < 4; ++step) CHECK(loader.next().step == step);
  CHECK(message_of<DataError>([&] { loader.next(); }) == "step four");
  CHECK(message_of<DataError>([&] { loader.next(); }) == "step four");
  loader.seek(5);
  CHECK(loader.next().step == 5);
}

TEST_CASE("a loader can be destroyed at any moment") {
  for (int i = 0; i < 50; ++i) {
    Loader loader(textured(4), strong(), 2, 12, 10, Seed{9}, {.threads = 1 + i % 3, .prefetch = 1 + i % 4});
    for (int step = 0; step < i % 5; ++step) loader.next();
  }
}

TEST_CASE("label margins reach the batch") {
  Loader loader(constants(3), Augmentation{}, 2, 12, 14, Seed{10}, {.label_margin = 4});
  const Batch& batch = loader.next();
  CHECK(batch.images.shape() == ImageBatch::shape_type{2, 12, 14, 1});
  CHECK(batch.labels.shape() == LabelBatch::shape_type{2, 4, 6});
  CHECK(batch.labels(1, 3, 5) == batch.images(1, 0, 0, 0));
}

TEST_CASE("what cannot be loaded is refused at construction") {
  const auto refusal = [](std::vector<Sample> samples, int batch = 2, int height = 8, LoaderOptions options = {}) {
    return message_of<Error>(
        [&] { Loader loader(std::move(samples), Augmentation{}, batch, height, 8, Seed{1}, options); });
  };
  CHECK(contains(refusal({}), "no samples"));
  auto samples = constants(3);
  samples[1].image(2, 3, 0) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(refusal(samples), "'sample 1': pixel (row 2, column 3"));
  samples = constants(3);
  samples[2].image = make_image(18, 20, 3);
  std::fill(samples[2].image.begin(), samples[2].image.end(), 0.0f);
  CHECK(contains(refusal(samples), "'sample 2' has 3 channels"));
  samples = constants(3);
  samples[2].labels = make_labels(3, 3);
  CHECK(contains(refusal(samples), "its mask 3 x 3"));
  samples = constants(3, true);
  samples[0].weights = {};
  CHECK(contains(refusal(samples), "'sample 1' has a weight map, 'sample 0' has none"));
  CHECK(contains(refusal(constants(2), 0), "batch 0"));
  CHECK(contains(refusal(constants(2), 2, 0), "crop of 0 x 8"));
  CHECK(contains(refusal(constants(2), 2, 8, {.threads = 0}), "0 threads"));
  CHECK(contains(refusal(constants(2), 2, 8, {.label_margin = 4}), "label margin of 4"));
}
