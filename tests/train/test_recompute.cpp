// SPDX-License-Identifier: MIT
// Training that computes activations again gives the same bits as training that keeps them, in less memory.
#include <doctest/doctest.h>

#include <algorithm>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

/// Three steps of both, from the same weights: losses, gradients, parameters and running statistics to the bit.
template <class P, class Recomputation, class B>
void check(B backend) {
  using T = MasterOf<B>;
  const TrainerOptions options{.batch = 2, .schedule = schedule::constant(), .clip_norm = 1.0, .seed = Seed{5}};
  Model<P, T> kept_model;
  Model<P, T> again_model;
  Trainer<P, DiceCrossEntropy, B, Adam> kept{kept_model, {}, options, backend};
  Trainer<P, DiceCrossEntropy, B, Adam, Recomputation> again{again_model, {}, options, backend};
  CHECK(again.bytes() < kept.bytes());
  for (std::uint64_t step = 0; step < 3; ++step) {
    CAPTURE(step);
    const RandomBatch batch = random_batch<P>(2, Seed{step});
    const StepReport expected = kept.step(batch.image_view, batch.label_view);
    const StepReport found = again.step(batch.image_view, batch.label_view);
    CHECK(found.loss == expected.loss);
    CHECK(found.gradient_norm == expected.gradient_norm);
    CHECK(found.gradient_norm > 0.0);
    CHECK(std::ranges::equal(again.gradients(), kept.gradients()));
    CHECK(std::ranges::equal(again_model.state(), kept_model.state()));
    CHECK(again_model.hash() == kept_model.hash());
  }
}

using Plain = Program<UNet<Width<8>, Depth<2>, Dropout<>>, Image<1, 32, 48>>;
using Nested = Program<UNetPlusPlus<Width<4>, Depth<2>, DeepSupervision<>, Dropout<>>, Image<2, 16, 24>>;

}  // namespace

TEST_CASE("the same bits: U-Net, batch norm, dropout") {
  check<Plain, Recompute<EveryLevel>>(cpu::Tbb<float>{2});
  check<Plain, Recompute<EveryLevel>>(cpu::Tbb<bf16>{2});
  check<Plain, Recompute<EveryLevel>>(cpu::Eigen<float>{});
}

TEST_CASE("the same bits: U-Net++, several heads, dropout") {
  check<Nested, Recompute<EveryBlock>>(cpu::Tbb<float>{2});
  check<Nested, Recompute<EveryPass>>(cpu::Tbb<float>{2});
}
