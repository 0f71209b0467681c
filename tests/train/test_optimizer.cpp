// SPDX-License-Identifier: MIT
// Optimizers and schedules against values computed by hand.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "ulna/error.hpp"
#include "ulna/train/optimizer.hpp"
#include "ulna/train/schedule.hpp"

using namespace ulna;

namespace {

/// A parameter that starts at 1, after a step with gradient 1/2 and one with gradient -1/4.
struct Path {
  double after_one, after_two;
};

template <class Optimizer>
Path walk(const Optimizer& optimizer, double rate, double scale = 1.0) {
  double p = 1.0, m = 0.0, v = 0.0;
  const auto step = [&](double g, std::int64_t t) {
    optimizer.update(UpdateBlock<double>{&p, &g, {&m, &v}, 1}, rate, scale, t);
    return p;
  };
  const double first = step(0.5, 1);
  return {first, step(-0.25, 2)};
}

void check(const Path& path, double after_one, double after_two) {
  CHECK(std::abs(path.after_one - after_one) < 1e-14);
  CHECK(std::abs(path.after_two - after_two) < 1e-14);
}

}  // namespace

TEST_CASE("SGD") {
  // 1 - 0.1 / 2, then + 0.1 / 4
  check(walk(SGD{.momentum = 0.0}, 0.1), 0.95, 0.975);
  // v = 0.5, then 0.9 x 0.5 - 0.25 = 0.2
  check(walk(SGD{.momentum = 0.9}, 0.1), 0.95, 0.93);
  // g = 0.6, v = 0.6; g = -0.25 + 0.1 x 0.94 = -0.156, v = 0.54 - 0.156 = 0.384
  check(walk(SGD{.momentum = 0.9, .weight_decay = 0.1}, 0.1), 0.94, 0.9016);
  // 1 - 0.1 (0.6 + 0.54); g = -0.25 + 0.0886 = -0.1614, v = 0.3786, step 0.1 (-0.1614 + 0.34074)
  check(walk(SGD{.momentum = 0.9, .weight_decay = 0.1, .nesterov = true}, 0.1), 0.886, 0.868066);
  // The scale multiplies the gradient, not the decay.
  check(walk(SGD{.momentum = 0.0, .weight_decay = 0.1}, 0.1, 0.5), 1 - 0.1 * (0.25 + 0.1),
        0.965 - 0.1 * (-0.125 + 0.0965));
}

TEST_CASE("Adam") {
  // m = 0.05, v = 0.00025; corrected 0.5 and 0.25: 1 - 0.1 x 0.5 / (0.5 + 0.1).
  // m = 0.02, v = 0.00031225; corrected 0.02 / 0.19 and 0.00031225 / 0.001999.
  const Adam adam{.epsilon = 0.1};
  check(walk(adam, 0.1), 1 - 0.05 / 0.6,
        1 - 0.05 / 0.6 - 0.1 * (0.02 / 0.19) / (std::sqrt(0.00031225 / 0.001999) + 0.1));
  check(walk(adam, 0.1), 0.9166666666666666, 0.895411060230342);
  // Decay as part of the gradient: 0.5 + 0.2 = 0.7 in the first step.
  check(walk(Adam{.epsilon = 0.1, .weight_decay = 0.2}, 0.1), 1 - 0.1 * 0.7 / 0.8, 0.8629222826434378);
  // Without epsilon the first step has the length of the rate, whatever the gradient's.
  CHECK(std::abs(walk(Adam{}, 0.01).after_one - 0.99) < 1e-9);
  CHECK(std::abs(walk(Adam{}, 0.01, 1e-3).after_one - 0.99) < 1e-6);
}

TEST_CASE("AdamW") {
  // Decay apart from the gradient: p shrinks by 1 - 0.1 x 0.2 before each step.
  check(walk(AdamW{.epsilon = 0.1, .weight_decay = 0.2}, 0.1), 0.98 - 0.05 / 0.6, 0.8574777268970086);
  const Path none = walk(AdamW{.epsilon = 0.1, .weight_decay = 0.0}, 0.1);
  check(walk(Adam{.epsilon = 0.1}, 0.1), none.after_one, none.after_two);
}

TEST_CASE("an update in blocks is an update") {
  std::vector<double> p(10, 1.0), q(10, 1.0), g(10), m(10), v(10), m2(10), v2(10);
  for (std::size_t i = 0; i < 10; ++i) g[i] = static_cast<double>(i) - 4.5;
  for (std::int64_t step = 1; step <= 3; ++step) {
    AdamW{}.update(UpdateBlock<double>{p.data(), g.data(), {m.data(), v.data()}, 10}, 0.1, 1.0, step);
    AdamW{}.update(UpdateBlock<double>{q.data(), g.data(), {m2.data(), v2.data()}, 7}, 0.1, 1.0, step);
    AdamW{}.update(UpdateBlock<double>{q.data() + 7, g.data() + 7, {m2.data() + 7, v2.data() + 7}, 3}, 0.1, 1.0, step);
  }
  CHECK(p == q);
}

TEST_CASE("schedules") {
  const auto near = [](double a, double b) { return std::abs(a - b) < 1e-15; };
  CHECK(schedule::constant()(12345) == 1.0);

  const Schedule step = schedule::step(10, 0.5);
  CHECK(step(0) == 1.0);
  CHECK(step(9) == 1.0);
  CHECK(step(10) == 0.5);
  CHECK(step(29) == 0.25);
  CHECK_THROWS_AS(schedule::step(0), ArgumentError);

  const Schedule polynomial = schedule::polynomial(100, 0.9);
  CHECK(polynomial(0) == 1.0);
  CHECK(near(polynomial(50), std::pow(0.5, 0.9)));
  CHECK(near(polynomial(99), std::pow(0.01, 0.9)));
  CHECK(polynomial(100) == 0.0);
  CHECK(polynomial(1000) == 0.0);

  const Schedule cosine = schedule::cosine(100, 0.2);
  CHECK(cosine(0) == 1.0);
  CHECK(near(cosine(50), 0.6));
  CHECK(near(cosine(25), 0.2 + 0.4 * (1 + std::sqrt(0.5))));
  CHECK(near(cosine(100), 0.2));
  CHECK(near(cosine(5000), 0.2));
  CHECK(near(schedule::cosine(0, 0.1)(0), 0.1));

  const Schedule warm = schedule::warm_up(4, schedule::cosine(10));
  CHECK(warm(0) == 0.25);
  CHECK(warm(3) == 1.0);
  CHECK(warm(4) == 1.0);  // the schedule's own step 0
  CHECK(near(warm(9), 0.5));
  CHECK(near(warm(14), 0.0));
  CHECK(schedule::warm_up(0, schedule::constant())(0) == 1.0);
}
