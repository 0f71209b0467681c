// SPDX-License-Identifier: MIT
// A TransUNet on the CUDA backend with the host in place of a device: attention, layer and group norms, embeddings and
// standardised weights inside a program, in float and in bf16.
#include <doctest/doctest.h>

#include "../../support/batch.hpp"
#include "box_emulator.hpp"
#include "ulna/backend/cuda/executor.hpp"
#include "ulna/backend/cuda/training_run.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/trans_unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

template <class T>
using Emulated = cuda::BasicDevice<T, cuda::arithmetic::Exact, cuda::HostPlatform<cuda::EmulatedExecution>>;

using Net = Program<TransUNet<Classes<2>, Hidden<12>, Layers<2>, Heads<3>, Mlp<10>, Units<1, 1, 1>, Width<4>, Groups<2>,
                              Decoder<8, 6, 4, 4>>,
                    Image<1, 32, 48>>;

struct Run {
  double loss = 0.0;
  std::vector<float> gradients, logits;
};

/// Loss and gradients of a batch, and the prediction of another.
template <class B>
Run run() {
  Model<Net> model{Seed{2}};
  const RandomBatch batch = random_batch<Net>(2, Seed{1});
  Run r;
  Trainer<Net, CrossEntropy, B> trainer{model, {}, {.batch = 2, .seed = Seed{4}}};
  r.loss = trainer.evaluate_gradients(batch.image_view, batch.label_view);
  r.gradients.assign(trainer.gradients().begin(), trainer.gradients().end());
  Predictor<Net, B> predictor{model, 2};
  const auto logits = predictor.predict(batch.image_view);
  for (int n = 0; n < logits.batch; ++n)
    for (std::ptrdiff_t p = 0; p < logits.pixels(); ++p)
      for (int c = 0; c < logits.shape.channels; ++c) r.logits.push_back(static_cast<float>(logits.pixel(n, p)[c]));
  return r;
}

/// Length of the difference, as a share of the reference's.
double difference(const std::vector<float>& found, const std::vector<float>& expected) {
  REQUIRE(found.size() == expected.size());
  double apart = 0.0, length = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double e = static_cast<double>(expected[i]);
    apart += (static_cast<double>(found[i]) - e) * (static_cast<double>(found[i]) - e);
    length += e * e;
  }
  return std::sqrt(apart / length);
}

}  // namespace

TEST_CASE("a TransUNet on a device follows the reference") {
  const Run expected = run<cpu::Eigen<float>>();
  const Run found = run<Emulated<float>>();
  CHECK(found.loss == doctest::Approx(expected.loss).epsilon(1e-5));
  CHECK(difference(found.logits, expected.logits) <= 1e-4);
  CHECK(difference(found.gradients, expected.gradients) <= 1e-3);

  const Run mixed = run<Emulated<bf16>>();
  CHECK(mixed.loss == doctest::Approx(expected.loss).epsilon(2e-2));
  CHECK(difference(mixed.logits, expected.logits) <= 5e-2);
  // Rounding turns units of this tiny network on and off; a wrong gradient would be as far as its own length or more.
  CHECK(difference(mixed.gradients, expected.gradients) <= 0.65);
}
