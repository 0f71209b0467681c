// SPDX-License-Identifier: MIT
// One step of training: the loss, its weights, clipping, what is reported.
#include <doctest/doctest.h>

#include <cmath>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

using P = Program<UNet<Classes<3>, Width<12>, Depth<1>, norm::None>, Image<1, 8, 12>>;
using B = cpu::Eigen<double>;
using WeightedTrainer = Trainer<P, WeightedCrossEntropy, B, SGD>;

double loss_of(Model<P, double>& model, const RandomBatch& batch, const std::vector<float>& class_weights,
               bool pixel_weights) {
  WeightedTrainer trainer{model, {}, {.batch = 2, .class_weights = class_weights}};
  return trainer.evaluate_gradients(batch.image_view, batch.label_view,
                                    pixel_weights ? batch.weight_view : ImagesView{});
}

/// sum of w_i (log sum_k exp(x_ik) - x_i,label) / sum of w_i, as PyTorch's cross_entropy with `weight`.
double expected_loss(const Tensor<double>& logits, const RandomBatch& batch, const std::vector<float>& class_weights,
                     bool pixel_weights) {
  double sum = 0.0, weights = 0.0;
  std::size_t i = 0;
  for (int n = 0; n < logits.batch; ++n)
    for (std::ptrdiff_t p = 0; p < logits.pixels(); ++p, ++i) {
      const double* x = logits.pixel(n, p);
      const std::uint8_t label = batch.labels[i];
      double w = class_weights.empty() ? 1.0 : static_cast<double>(class_weights[label]);
      if (pixel_weights) w *= static_cast<double>(batch.weights[i]);
      sum += w * (std::log(std::exp(x[0]) + std::exp(x[1]) + std::exp(x[2])) - x[label]);
      weights += w;
    }
  return sum / weights;
}

}  // namespace

TEST_CASE("weighted cross-entropy is PyTorch's") {
  Model<P, double> model{Seed{1}};
  const RandomBatch batch = random_batch<P>(2);
  for (const std::vector<float>& classes : {std::vector<float>{}, {1, 1, 1}, {0.2f, 3, 1.5f}, {0, 1, 0}})
    for (const bool pixels : {false, true}) {
      WeightedTrainer trainer{model, {}, {.batch = 2, .class_weights = classes}};
      const double loss =
          trainer.evaluate_gradients(batch.image_view, batch.label_view, pixels ? batch.weight_view : ImagesView{});
      CHECK(std::abs(loss - expected_loss(trainer.logits(), batch, classes, pixels)) < 1e-12);
    }
  // Equal weights of any size are no weights.
  CHECK(std::abs(loss_of(model, batch, {7, 7, 7}, false) - loss_of(model, batch, {}, false)) < 1e-12);
  // Unweighted and weighted cross-entropy are one loss then.
  Trainer<P, CrossEntropy, B> plain{model, {}, {.batch = 2}};
  CHECK(std::abs(plain.evaluate_gradients(batch.image_view, batch.label_view) - loss_of(model, batch, {}, false)) <
        1e-12);
}

TEST_CASE("gradients under weights are those of central differences") {
  Model<P, double> model{Seed{2}};
  const RandomBatch batch = random_batch<P>(2);
  const std::vector<float> classes{0.5f, 2, 1};
  WeightedTrainer trainer{model, {}, {.batch = 2, .class_weights = classes}};
  trainer.evaluate_gradients(batch.image_view, batch.label_view, batch.weight_view);
  const std::vector<double> gradient(trainer.gradients().begin(), trainer.gradients().end());
  const auto count = static_cast<std::size_t>(P::parameter_count);
  for (std::size_t i = 0; i < count; i += count / 23) {
    CAPTURE(i);
    const double h = 1e-5;
    const double kept = model.parameters()[i];
    model.mutable_parameters()[i] = kept + h;
    const double above = loss_of(model, batch, classes, true);
    model.mutable_parameters()[i] = kept - h;
    const double below = loss_of(model, batch, classes, true);
    model.mutable_parameters()[i] = kept;
    CHECK(std::abs((above - below) / (2 * h) - gradient[i]) < 1e-8);
  }
}

TEST_CASE("a batch whose weights are all 0 teaches nothing") {
  Model<P, double> model{Seed{2}};
  RandomBatch batch = random_batch<P>(1);
  std::ranges::fill(batch.weights, 0.0f);
  WeightedTrainer trainer{model};
  CHECK(trainer.evaluate_gradients(batch.image_view, batch.label_view, batch.weight_view) == 0.0);
  for (const double g : trainer.gradients()) REQUIRE(g == 0.0);
}

TEST_CASE("clipping scales the gradient to the norm") {
  static_assert(P::parameter_count > 2000);
  const RandomBatch batch = random_batch<P>(2);
  Model<P, double> model{Seed{3}};
  const std::vector<double> before(model.parameters().begin(), model.parameters().end());
  const auto step = [&](double clip) {
    std::ranges::copy(before, model.mutable_parameters().begin());
    Trainer<P, CrossEntropy, B, SGD> trainer{
        model, SGD{.learning_rate = 0.5, .momentum = 0.0}, {.batch = 2, .clip_norm = clip}};
    const StepReport report = trainer.step(batch.image_view, batch.label_view);
    double norm = 0.0;
    for (const double g : trainer.gradients()) norm += g * g;
    norm = std::sqrt(norm);
    if (clip > 0.0)
      CHECK(std::abs(report.gradient_norm / norm - 1) < 1e-12);
    else
      CHECK(report.gradient_norm == 0.0);
    const double scale = clip > 0.0 && norm > clip ? clip / norm : 1.0;
    double worst = 0.0, moved = 0.0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const double change = model.parameters()[i] - before[i];
      worst = std::max(worst, std::abs(change + 0.5 * scale * trainer.gradients()[i]));
      moved += change * change;
    }
    CHECK(worst < 1e-14);
    return std::sqrt(moved) / 0.5;
  };
  const double norm = step(0.0);
  CHECK(std::abs(step(norm / 3) - norm / 3) < 1e-10);
  CHECK(std::abs(step(norm * 3) - norm) < 1e-10);
}

TEST_CASE("a step reports what it did") {
  Model<P, double> model{Seed{4}};
  const RandomBatch batch = random_batch<P>(2);
  Trainer<P, CrossEntropy, B, SGD> trainer{
      model, SGD{.learning_rate = 0.1}, {.batch = 2, .schedule = schedule::step(2, 0.5)}};
  const double first = trainer.evaluate_gradients(batch.image_view, batch.label_view);
  for (int i = 0; i < 5; ++i) {
    const StepReport r = trainer.step(batch.image_view, batch.label_view);
    if (i == 0) CHECK(r.loss == first);  // before the update
    CHECK(r.step == i + 1);
    CHECK(r.learning_rate == 0.1 * std::pow(0.5, i / 2));
  }
  CHECK(trainer.steps() == 5);
  CHECK(trainer.bytes() > 3 * sizeof(double) * static_cast<std::size_t>(P::parameter_count));
}

TEST_CASE("a run that diverges says so and keeps the last finite weights") {
  Model<P, double> model{Seed{5}};
  const RandomBatch batch = random_batch<P>(2);
  Trainer<P, CrossEntropy, B, SGD> trainer{model, SGD{.learning_rate = 1e200}, {.batch = 2}};
  std::string said;
  for (int i = 0; i < 20 && said.empty(); ++i) {
    const std::uint64_t before = model.hash();
    said = message_of<DataError>([&] { trainer.step(batch.image_view, batch.label_view); });
    if (said == "(nothing was thrown)")
      said.clear();
    else
      CHECK(model.hash() == before);
  }
  CHECK(said.starts_with("training diverged at step "));
  CHECK(said.ends_with("use a smaller learning rate or clip gradients"));
}
