// SPDX-License-Identifier: MIT
#include "ulna/train/weight_average.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "ulna/model/unet.hpp"

using namespace ulna;

using Net = UNet<Width<2>, Depth<1>>;
using SmallProgram = Program<Net, Image<1, 8, 8>>;

TEST_CASE("the average follows the model with a growing memory") {
  Model<SmallProgram> model{Seed{1}};
  WeightAverage<SmallProgram> average{model, 0.9};
  CHECK(average.model().hash() == model.hash());

  // by hand: step 1 keeps 2/11, step 2 keeps 3/12 of the average
  const auto p = model.mutable_parameters();
  const auto s = model.mutable_state();
  const float first = p[0];
  p[0] = first + 1.0f;
  s[0] = 5.0f;
  average.update(model, 1);
  CHECK(average.model().parameters()[0] == doctest::Approx(first + 9.0 / 11.0));
  CHECK(average.model().state()[0] == doctest::Approx(5.0 * 9.0 / 11.0));
  average.update(model, 2);
  CHECK(average.model().parameters()[0] == doctest::Approx(first + 1.0 - 2.0 / 11.0 * 0.25));
  // late in a run the decay itself holds
  p[0] = first;
  const float before = average.model().parameters()[0];
  average.update(model, 100000);
  CHECK(average.model().parameters()[0] == doctest::Approx(before + 0.1 * (first - before)));
}

TEST_CASE("a model's copy is a model of its own") {
  Model<SmallProgram> model{Seed{2}};
  Model<SmallProgram> twin = model.copy();
  CHECK(twin.hash() == model.hash());
  twin.mutable_parameters()[3] += 1.0f;
  CHECK(twin.hash() != model.hash());
}

TEST_CASE("a decay that forgets nothing or everything backwards is refused") {
  Model<SmallProgram> model;
  CHECK_THROWS_AS((WeightAverage<SmallProgram>{model, 1.0}), ArgumentError);
  CHECK_THROWS_AS((WeightAverage<SmallProgram>{model, -0.1}), ArgumentError);
}
