// SPDX-License-Identifier: MIT
// Programs on the CUDA backend with the host in place of a device: staging, recordings, what travels between model and
// device, training and prediction, against the reference backend.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "../../support/batch.hpp"
#include "box_emulator.hpp"
#include "ulna/backend/cuda/executor.hpp"
#include "ulna/backend/cuda/training_run.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/attention_unet.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

using Emulated = cuda::BasicDevice<float, cuda::arithmetic::Exact, cuda::HostPlatform<cuda::EmulatedExecution>>;
using Reference = cpu::Eigen<float>;

using Net = Program<UNet<Width<4>, Depth<1>, Dropout<>>, Image<2, 12, 10>>;
using Gated = Program<AttentionUNet<Width<4>, Depth<2>>, Image<1, 8, 12>>;

template <class T>
std::vector<double> values_of(const Tensor<T>& t) {
  std::vector<double> values;
  for (int n = 0; n < t.batch; ++n)
    for (std::ptrdiff_t p = 0; p < t.pixels(); ++p)
      for (int c = 0; c < t.shape.channels; ++c) values.push_back(static_cast<double>(t.pixel(n, p)[c]));
  return values;
}

/// Largest difference, as a share of the largest reference value.
double difference(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double worst = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    worst = std::max(worst, std::abs(found[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return largest > 0.0 ? worst / largest : worst;
}
double difference(std::span<const float> found, std::span<const float> expected) {
  return difference(std::vector<double>(found.begin(), found.end()),
                    std::vector<double>(expected.begin(), expected.end()));
}

constexpr double tolerance = 2e-5;

}  // namespace

TEST_CASE("predictions on a device are the reference's, for every batch and after every change of the model") {
  Model<Net> model{Seed{3}};
  Predictor<Net, Emulated> device{model, 3};
  Predictor<Net, Reference> reference{model, 3};
  for (const int batch : {3, 1, 2, 3}) {
    CAPTURE(batch);
    const RandomBatch images = random_batch<Net>(batch, Seed{static_cast<std::uint64_t>(batch)});
    const std::vector<double> expected = values_of(reference.predict(images.image_view));
    CHECK(difference(values_of(device.predict(images.image_view)), expected) <= tolerance);
    for (float& p : model.mutable_parameters()) p *= 1.03f;
    CHECK(difference(values_of(device.predict(images.image_view)), expected) > 1e-3);  // the change shows
  }
  CHECK(device.bytes() > 0);
}

namespace {

/// Counts the weights that are packed.
struct CountingExecution : cuda::EmulatedExecution {
  static inline int packed_weights = 0;
  template <class Body>
  void each(const char* name, std::int64_t count, const Body& body) const {
    packed_weights += std::string_view(name) == "pack_weight";
    cuda::EmulatedExecution::each(name, count, body);
  }
};

}  // namespace

TEST_CASE("weights are packed when the model changed, and by no run") {
  using Counted = cuda::BasicDevice<bf16, cuda::arithmetic::Tf32, cuda::HostPlatform<CountingExecution>>;
  constexpr int weights = 8;  // three blocks of two convolutions, the upsampling one, and the head
  Model<Net> model{Seed{3}};
  Predictor<Net, Counted> device{model, 2};
  Predictor<Net, Reference> reference{model, 2};
  const RandomBatch images = random_batch<Net>(2);
  CountingExecution::packed_weights = 0;
  for (int change = 1; change <= 2; ++change) {
    for (int run = 0; run < 2; ++run) {
      CHECK(difference(values_of(device.predict(images.image_view)), values_of(reference.predict(images.image_view))) <=
            2e-2);
      CHECK(CountingExecution::packed_weights == change * weights);
    }
    for (float& p : model.mutable_parameters()) p *= 1.1f;
  }
}

TEST_CASE("published values are fetched from the device") {
  Model<Gated> model{Seed{4}};
  Predictor<Gated, Emulated> device{model, 2};
  Predictor<Gated, Reference> reference{model, 2};
  const RandomBatch images = random_batch<Gated>(2);
  CHECK(difference(values_of(device.predict(images.image_view)), values_of(reference.predict(images.image_view))) <=
        tolerance);
  const char* const path = "decoder[1]/gate/attention";
  CHECK(difference(values_of(device.published(path)), values_of(reference.published(path))) <= tolerance);
  CHECK_THROWS_AS(device.published("nowhere"), ArgumentError);
}

TEST_CASE("training on a device follows the reference") {
  Model<Net> on_device{Seed{5}};
  Model<Net> on_host{Seed{5}};
  const TrainerOptions options{.batch = 2, .clip_norm = 0.5, .seed = Seed{8}};
  Trainer<Net, DiceCrossEntropy, Emulated, AdamW> device{on_device, {}, options};
  Trainer<Net, DiceCrossEntropy, Reference, AdamW> reference{on_host, {}, options};
  for (int step = 0; step < 4; ++step) {
    CAPTURE(step);
    const RandomBatch batch = random_batch<Net>(step == 2 ? 1 : 2, Seed{static_cast<std::uint64_t>(step)});
    const StepReport found = device.step(batch.image_view, batch.label_view);
    const StepReport expected = reference.step(batch.image_view, batch.label_view);
    CHECK(found.step == expected.step);
    CHECK(found.loss == doctest::Approx(expected.loss).epsilon(1e-4));
    CHECK(expected.gradient_norm > options.clip_norm);  // or clipping would not be tried
    CHECK(found.gradient_norm == doctest::Approx(expected.gradient_norm).epsilon(1e-3));
    CHECK(found.learning_rate == expected.learning_rate);
    CHECK(difference(device.gradients(), reference.gradients()) <= 1e-3);
    CHECK(difference(values_of(device.logits()), values_of(reference.logits())) <= 1e-3);
  }
  // Adam divides by the size of a gradient: where that is all rounding, so is the step
  CHECK(difference(on_device.parameters(), on_host.parameters()) <= 5e-3);
  CHECK(difference(on_device.state(), on_host.state()) <= 1e-4);
}

TEST_CASE("SGD on a device follows the reference") {
  Model<Net> on_device{Seed{5}};
  Model<Net> on_host{Seed{5}};
  const SGD sgd{.learning_rate = 0.05, .weight_decay = 0.01, .nesterov = true};
  Trainer<Net, CrossEntropy, Emulated, SGD> device{on_device, sgd, {.batch = 2}};
  Trainer<Net, CrossEntropy, Reference, SGD> reference{on_host, sgd, {.batch = 2}};
  for (int step = 0; step < 3; ++step) {
    const RandomBatch batch = random_batch<Net>(2, Seed{static_cast<std::uint64_t>(step)});
    CHECK(device.step(batch.image_view, batch.label_view).gradient_norm == 0.0);
    reference.step(batch.image_view, batch.label_view);
  }
  CHECK(difference(on_device.parameters(), on_host.parameters()) <= 1e-4);
}

TEST_CASE("bf16 activations with float parameters follow the reference within their precision") {
  using Mixed = cuda::BasicDevice<bf16, cuda::arithmetic::Tf32, cuda::HostPlatform<cuda::EmulatedExecution>>;
  Model<Net> on_device{Seed{5}};
  Model<Net> on_host{Seed{5}};
  const SGD sgd{.learning_rate = 0.05};
  Trainer<Net, CrossEntropy, Mixed, SGD> device{on_device, sgd, {.batch = 2}};
  Trainer<Net, CrossEntropy, Reference, SGD> reference{on_host, sgd, {.batch = 2}};
  for (int step = 0; step < 2; ++step) {
    const RandomBatch batch = random_batch<Net>(2, Seed{static_cast<std::uint64_t>(step)});
    const double loss = device.step(batch.image_view, batch.label_view).loss;
    CHECK(loss == doctest::Approx(reference.step(batch.image_view, batch.label_view).loss).epsilon(2e-2));
  }
  CHECK(difference(on_device.parameters(), on_host.parameters()) <= 2e-2);
  Predictor<Net, Mixed> mixed{on_device, 2};
  Predictor<Net, Reference> exact{on_device, 2};
  const RandomBatch batch = random_batch<Net>(2, Seed{9});
  const std::vector<double> expected = values_of(exact.predict(batch.image_view));
  CHECK(difference(values_of(mixed.predict(batch.image_view)), expected) <= 2e-2);
  CHECK(difference(values_of(mixed.predict(batch.image_view)), expected) > 1e-5);  // it is bf16
}

TEST_CASE("a model and the device that trains it agree") {
  const RandomBatch batch = random_batch<Net>(2);
  Model<Net> model{Seed{6}};
  const std::uint64_t untrained = model.hash();
  std::uint64_t trained = 0;
  {
    Trainer<Net, CrossEntropy, Emulated> trainer{model, {}, {.batch = 2}};
    CHECK(model.hash() == untrained);
    trainer.step(batch.image_view, batch.label_view);
    const std::uint64_t revision = model.revision();
    CHECK(model.hash() != untrained);  // reading fetches what the device has
    CHECK(model.revision() == revision);

    SUBCASE("what is written to the model reaches the device") {
      Model<Net> fresh{Seed{6}};
      std::ranges::copy(fresh.parameters(), model.mutable_parameters().begin());
      std::ranges::copy(fresh.state(), model.mutable_state().begin());
      Trainer<Net, CrossEntropy, Emulated> other{fresh, {}, {.batch = 2}};
      other.resume_at(trainer.steps());  // dropout draws the same
      CHECK(trainer.evaluate_gradients(batch.image_view, batch.label_view) ==
            other.evaluate_gradients(batch.image_view, batch.label_view));
    }
    SUBCASE("a predictor sees what was trained") {
      Predictor<Net, Emulated> device{model, 2};
      Predictor<Net, Reference> reference{model, 2};
      trainer.step(batch.image_view, batch.label_view);
      CHECK(difference(values_of(device.predict(batch.image_view)), values_of(reference.predict(batch.image_view))) <=
            tolerance);
    }
    trainer.step(batch.image_view, batch.label_view);
    Model<Net> twin = model.copy();
    trained = twin.hash();
  }
  CHECK(model.hash() == trained);  // after the trainer is gone too
}

TEST_CASE("training resumes from the optimizer's memory") {
  const RandomBatch batch = random_batch<Net>(2);
  Model<Net> straight{Seed{7}};
  Trainer<Net, CrossEntropy, Emulated> whole{straight, {}, {.batch = 2}};
  for (int i = 0; i < 2; ++i) whole.step(batch.image_view, batch.label_view);
  Model<Net> resumed = straight.copy();
  Trainer<Net, CrossEntropy, Emulated> rest{resumed, {}, {.batch = 2}};
  for (int i = 0; i < 2; ++i) std::ranges::copy(whole.optimizer_slot(i), rest.optimizer_slot(i).begin());
  rest.resume_at(whole.steps());
  whole.step(batch.image_view, batch.label_view);
  rest.step(batch.image_view, batch.label_view);
  CHECK(straight.hash() == resumed.hash());
}

TEST_CASE("a loss that is not finite changes no parameter") {
  Model<Net> model{Seed{9}};
  model.mutable_parameters().back() = std::numeric_limits<float>::infinity();  // of the head: logits are infinite
  std::vector<float> before(model.parameters().begin(), model.parameters().end());
  Trainer<Net, CrossEntropy, Emulated> trainer{model, {}, {.batch = 1}};
  const RandomBatch batch = random_batch<Net>(1);
  CHECK_THROWS_AS(trainer.step(batch.image_view, batch.label_view), DataError);
  CHECK(std::ranges::equal(model.parameters(), before));
}

TEST_CASE("too little memory is refused with the batch that would fit") {
  const auto bytes_of = [](int batch) { return (std::int64_t{100} + 50 * std::int64_t{batch}) << 20; };
  const auto message = [&](int batch, std::int64_t available) {
    return message_of<cuda::Error>([&] { cuda::detail::require_memory(bytes_of, batch, available, "NVIDIA X"); });
  };
  CHECK_NOTHROW(cuda::detail::require_memory(bytes_of, 8, std::int64_t{500} << 20, "NVIDIA X"));
  CHECK(message(16, std::int64_t{500} << 20) ==
        "NVIDIA X: a batch of 16 needs 900.0 MiB of device memory, 500.0 MiB are free; a batch of 8 would fit");
  CHECK(message(16, (std::int64_t{500} << 20) - 1).find("a batch of 7 would fit") != std::string::npos);
  CHECK(message(2, std::int64_t{120} << 20).find("a batch of 1 needs 150.0 MiB") != std::string::npos);
}
