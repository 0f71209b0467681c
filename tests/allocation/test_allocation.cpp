// SPDX-License-Identifier: MIT
// After the first call, training and prediction take no memory from the heap.
#include <doctest/doctest.h>

#include <memory>

#include "../support/batch.hpp"
#include "count_allocations.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

// Every kind of node that a U-Net trains with, in two networks.
using First = Program<UNet<Width<4>, Depth<2>, Dropout<>>, Image<1, 16, 20>>;
using Second = Program<UNet<Width<4>, Depth<1>, norm::Group<2>, padding::Reflect, down::StridedConv, up::BilinearConv<>,
                            skip::Sum, activation::Sigmoid>,
                       Image<2, 16, 20>>;

/// Allocations of `calls` calls.
template <class Call>
long allocated(int calls, Call call) {
  const long before = allocations;
  for (int i = 0; i < calls; ++i) call();
  return allocations - before;
}

template <class P, class Loss, class Optimizer, class B>
void check(B backend, Optimizer optimizer) {
  Model<P, MasterOf<B>> model;
  const RandomBatch two = random_batch<P>(2);
  const RandomBatch one = random_batch<P>(1);
  Trainer<P, Loss, B, Optimizer> trainer{
      model,
      optimizer,
      {.batch = 2, .schedule = schedule::warm_up(3, schedule::cosine(10)), .clip_norm = 1.0},
      backend};
  Predictor<P, B> predictor{model, 2, backend};
  trainer.step(two.image_view, two.label_view);
  predictor.predict(two.image_view);
  CHECK(allocated(5, [&] { trainer.step(two.image_view, two.label_view); }) == 0);
  CHECK(allocated(5, [&] { trainer.step(one.image_view, one.label_view); }) == 0);
  CHECK(allocated(2, [&] { trainer.evaluate_gradients(two.image_view, two.label_view); }) == 0);
  CHECK(allocated(5, [&] { predictor.predict(two.image_view); }) == 0);
  CHECK(allocated(5, [&] { predictor.predict(one.image_view); }) == 0);
}

}  // namespace

TEST_CASE("the count sees allocations of every kind") {
  CHECK(allocated(1, [] { ::operator delete(::operator new(4)); }) >= 1);
  CHECK(allocated(1, [] { std::vector<int>(1000).shrink_to_fit(); }) >= 1);
  CHECK(allocated(1, [] { (void)Buffer<float>(100); }) >= 1);
  CHECK(allocated(1, [] { delete new std::string(100, 'x'); }) >= 1);
}

TEST_CASE("the reference backend") {
  check<First, DiceCrossEntropy>(cpu::Eigen<float>{}, SGD{});
  check<Second, CrossEntropy>(cpu::Eigen<double>{}, AdamW{});
}

TEST_CASE("the oneTBB backend on one thread") {
  check<First, DiceCrossEntropy>(cpu::Tbb<float>{1}, Adam{});
  check<Second, WeightedCrossEntropy>(cpu::Tbb<float>{1}, SGD{});
}

TEST_CASE("the oneTBB backend on two threads") { check<First, DiceCrossEntropy>(cpu::Tbb<float>{2}, Adam{}); }

TEST_CASE("the oneTBB backend in bf16") { check<First, DiceCrossEntropy>(cpu::Tbb<bf16>{2}, Adam{}); }
