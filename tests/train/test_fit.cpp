// SPDX-License-Identifier: MIT
#include "ulna/train/fit.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace ulna;

namespace {

/// Counts what the loop asks of a trainer and of a loader.
struct Recorder {
  struct Batch {
    std::vector<float> images{1.0f};
    std::vector<std::uint8_t> labels{0};
    std::vector<float> weights{};
  };
  Batch batch{};
  std::int64_t done = 0;
  int weighted = 0;

  const Batch& next() const { return batch; }
  std::int64_t steps() const { return done; }
  StepReport step(const std::vector<float>&, const std::vector<std::uint8_t>&) {
    ++done;
    return {.step = done, .loss = 1.0 / static_cast<double>(done)};
  }
  StepReport step(const std::vector<float>& x, const std::vector<std::uint8_t>& y, const std::vector<float>&) {
    ++weighted;
    return step(x, y);
  }
};

}  // namespace

TEST_CASE("fit runs to the step asked for, from where the trainer is") {
  Recorder r;
  r.done = 3;
  int calls = 0;
  CHECK(fit(r, r, 10, {[&](const StepReport&) { return ++calls > 0; }}) == 10);
  CHECK(calls == 7);
  CHECK(r.weighted == 0);
}

TEST_CASE("fit passes pixel weights on when a batch has them") {
  Recorder r;
  r.batch.weights = {2.0f};
  fit(r, r, 2);
  CHECK(r.weighted == 2);
}

TEST_CASE("a callback ends the training, after the others have been called") {
  Recorder r;
  int after = 0;
  const std::vector<Callback> callbacks{[](const StepReport& s) { return s.step < 4; },
                                        [&](const StepReport&) { return ++after > 0; }};
  CHECK(fit(r, r, 100, callbacks) == 4);
  CHECK(after == 4);
}

TEST_CASE("every acts on multiples of its period") {
  std::vector<std::int64_t> at;
  const Callback c = every(3, [&](const StepReport& s) {
    at.push_back(s.step);
    return s.step < 6;
  });
  for (std::int64_t i = 1; i <= 8; ++i) CHECK(c({.step = i}) == (i != 6));
  CHECK(at == std::vector<std::int64_t>{3, 6});
  CHECK_THROWS_AS(every(0, [](const StepReport&) { return true; }), ArgumentError);
}

TEST_CASE("early stopping waits for its patience, then stops") {
  EarlyStopping stop{2, 0.01};
  CHECK(stop.observe(1.0));
  CHECK(stop.observe(0.5));
  CHECK(stop.improved());
  CHECK(stop.observe(0.495));  // not by 0.01
  CHECK_FALSE(stop.improved());
  CHECK_FALSE(stop.observe(std::nan("")));
  CHECK(stop.best() == 0.5);

  EarlyStopping larger{1, 0.0, true};
  CHECK(larger.observe(0.7));
  CHECK(larger.observe(0.8));
  CHECK_FALSE(larger.observe(0.8));
  CHECK(larger.best() == 0.8);
  CHECK_THROWS_AS(EarlyStopping{0}, ArgumentError);
}
