// SPDX-License-Identifier: MIT
// Same seed, same bits: run after run, on any number of threads.
#include <doctest/doctest.h>
#include <oneapi/tbb/global_control.h>

#include "../support/batch.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

/// The weights after some steps on changing batches, and the losses on the way.
struct Run {
  std::uint64_t hash = 0;
  std::vector<double> losses;
  bool operator==(const Run&) const = default;
};

template <class P, class Loss>
Run train(int threads, Seed weights, Seed dropout, int steps = 20) {
  // As many threads as asked for, however few cores there are.
  const tbb::global_control allow(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads));
  Model<P> model{weights};
  Trainer<P, Loss, cpu::Tbb<float>, AdamW> trainer{
      model, AdamW{.learning_rate = 3e-3}, {.batch = 3, .clip_norm = 0.5, .seed = dropout}, cpu::Tbb<float>{threads}};
  Run run;
  for (int i = 0; i < steps; ++i) {
    const RandomBatch batch = random_batch<P>(1 + i % 3, Seed{static_cast<std::uint64_t>(i)});
    run.losses.push_back(trainer.step(batch.image_view, batch.label_view).loss);
  }
  run.hash = model.hash();
  return run;
}

}  // namespace

TEST_CASE("weights after 20 steps") {
  // Extents and channels that no vector width divides.
  using P = Program<UNet<Width<6>, Depth<2>, Dropout<>>, Image<1, 44, 52>>;
  const Run one = train<P, DiceCrossEntropy>(1, Seed{1}, Seed{2});
  CHECK(one.losses.back() < one.losses.front());
  CHECK(one == train<P, DiceCrossEntropy>(1, Seed{1}, Seed{2}));
  CHECK(one == train<P, DiceCrossEntropy>(2, Seed{1}, Seed{2}));
  CHECK(one == train<P, DiceCrossEntropy>(4, Seed{1}, Seed{2}));
  CHECK(one == train<P, DiceCrossEntropy>(4, Seed{1}, Seed{2}));
  CHECK(one.hash != train<P, DiceCrossEntropy>(1, Seed{3}, Seed{2}).hash);
  CHECK(one.hash != train<P, DiceCrossEntropy>(1, Seed{1}, Seed{3}).hash);
}

TEST_CASE("weights of other kinds of networks") {
  using P = Program<UNet<Classes<1>, Width<8>, Depth<2>, norm::Group<4>, padding::Reflect, down::StridedConv,
                         up::BilinearConv<>, skip::Sum, activation::LeakyReLU<>>,
                    Image<3, 36, 28>>;
  const Run one = train<P, DiceBinaryCrossEntropy>(1, Seed{1}, Seed{2}, 6);
  CHECK(one == train<P, DiceBinaryCrossEntropy>(2, Seed{1}, Seed{2}, 6));
  CHECK(one == train<P, DiceBinaryCrossEntropy>(3, Seed{1}, Seed{2}, 6));
}
