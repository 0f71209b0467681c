// SPDX-License-Identifier: MIT
// The reference backend itself, against the formulas of op/ written out as loops and against numbers worked out by
// hand. (test_ops.cpp then compares every other backend with it, and gradients with central differences.)
#include <doctest/doctest.h>

#include "run_node.hpp"

using namespace ulna;
using namespace ulna::conformance;

namespace {

/// Runs the graph of `b` forward in double and returns the value of y. `leaves` are given in the order of their nodes.
Values run(const Builder& b, Value y, const std::vector<Values>& leaves, int batch = 1) {
  std::vector<Values> values(static_cast<std::size_t>(b.graph.nodes.size()));
  std::size_t next = 0;
  for (int id = 0; id < b.graph.nodes.size(); ++id)
    if (is_leaf(b.graph.nodes[id].op)) {
      REQUIRE(next < leaves.size());
      REQUIRE(leaves[next].size() == size_of(b.graph.nodes[id], batch));
      values[static_cast<std::size_t>(id)] = leaves[next++];
    }
  evaluate(b.graph, values, y.id + 1, batch, false);
  return values[static_cast<std::size_t>(y.id)];
}

void check_close(const Values& found, const Values& expected, double tolerance = 1e-12) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(tolerance));
}

Values random_values(std::size_t count, std::uint64_t stream) {
  Random random(Seed{11}, stream);
  Values v(count);
  for (double& x : v) x = static_cast<double>(random.normal());
  return v;
}

/// Element (y, x, c) of a dense image, 0 outside.
double at(const Values& image, const Shape& s, int y, int x, int c) {
  if (y < 0 || x < 0 || y >= s.height || x >= s.width) return 0;
  return image[static_cast<std::size_t>((y * s.width + x) * s.channels + c)];
}

constexpr Window uneven{{1, 3, 2}, {1, 2, 1}, {1, 1, 2}, {0, 1, 0}, {0, 0, 3}, Border::zero};

}  // namespace

TEST_CASE("convolution is the sum over taps and channels") {
  Builder b{Mode::inference};
  const Value x = b.input({3, 1, 8, 6});
  const Value w = b.weight("weight", 3, 4, uneven.kernel);
  const Value bias = b.vector("bias", ParameterKind::bias, 4);
  const Value y = op::convolution(b, x, w, bias, uneven);
  const std::vector<Values> leaves{random_values(8 * 6 * 3, 1), random_values(6 * 3 * 4, 2), random_values(4, 3)};
  const Shape out = b.shape(y);
  REQUIRE(out == Shape{4, 1, 4, 7});
  Values expected;
  for (int row = 0; row < out.height; ++row)
    for (int column = 0; column < out.width; ++column)
      for (int k = 0; k < 4; ++k) {
        double sum = leaves[2][static_cast<std::size_t>(k)];
        for (int ty = 0; ty < 3; ++ty)
          for (int tx = 0; tx < 2; ++tx)
            for (int c = 0; c < 3; ++c)
              sum += at(leaves[0], b.shape(x), row * 2 + ty - 1, column + tx * 2, c) *
                     leaves[1][static_cast<std::size_t>(((ty * 2 + tx) * 3 + c) * 4 + k)];
        expected.push_back(sum);
      }
  check_close(run(b, y, leaves), expected);
}

TEST_CASE("transposed convolution adds each input pixel's window") {
  Builder b{Mode::inference};
  const Value x = b.input({2, 1, 4, 7});
  const Value w = b.transposed_weight("weight", 2, 3, uneven.kernel);
  const Value y = op::transposed_convolution(b, x, w, {}, uneven);
  const std::vector<Values> leaves{random_values(4 * 7 * 2, 1), random_values(6 * 2 * 3, 2)};
  const Shape out = b.shape(y);
  REQUIRE(out == Shape{3, 1, 8, 6});
  Values expected(static_cast<std::size_t>(out.size()), 0.0);
  for (int row = 0; row < 4; ++row)
    for (int column = 0; column < 7; ++column)
      for (int ty = 0; ty < 3; ++ty)
        for (int tx = 0; tx < 2; ++tx)
          for (int c = 0; c < 2; ++c)
            for (int k = 0; k < 3; ++k) {
              const int to_row = row * 2 + ty - 1;
              const int to_column = column + tx * 2;
              if (to_row < 0 || to_row >= out.height || to_column >= out.width) continue;
              expected[static_cast<std::size_t>((to_row * out.width + to_column) * 3 + k)] +=
                  at(leaves[0], b.shape(x), row, column, c) *
                  leaves[1][static_cast<std::size_t>(((ty * 2 + tx) * 2 + c) * 3 + k)];
            }
  check_close(run(b, y, leaves), expected);
}

TEST_CASE("pooling") {
  Builder b{Mode::inference};
  const Value x = b.input({1, 1, 4, 4});
  const Values image{1, 2, 3, 4, 5, 6, 7, 8, -9, -1, -2, -3, -5, -6, -7, -8};
  Window padded = window2d(3, 2, 1);
  padded.pad_after = {0, 0, 0};
  const Value plain = op::max_pool(b, x, window2d(2, 2));
  const Value borders = op::max_pool(b, x, padded);
  const Value average = op::average_pool(b, x, window2d(2, 2));
  const Value average_of_borders = op::average_pool(b, x, padded);
  REQUIRE_FALSE(b.diagnostic);
  check_close(run(b, plain, {image}), {6, 8, -1, -2});
  check_close(run(b, borders, {image}), {6, 8, 6, 8});
  check_close(run(b, average, {image}), {3.5, 5.5, -5.25, -5});
  check_close(run(b, average_of_borders, {image}), {14 / 9.0, 30 / 9.0, -10 / 9.0, -6 / 9.0});
}

TEST_CASE("a maximum held twice sends its gradient to the first tap") {
  Builder b{Mode::training};
  const Value dy = b.input({1, 1, 1, 1});
  const Value x = b.input({1, 1, 2, 2});
  Node n{.op = Op::max_pool_gradient, .shape = b.shape(x), .input = {dy.id, x.id, -1, -1, -1, -1}};
  n.window = window2d(2, 2);
  check_close(run(b, b.append(n), {{3}, {1, 4, 4, 4}}), {0, 3, 0, 0});
}

TEST_CASE("upsampling: the published conventions") {
  Builder b{Mode::inference};
  const Value x = b.input({1, 1, 1, 3});
  const Value nearest = op::upsample_nearest(b, x, {1, 1, 2});
  const Value centres = op::upsample_bilinear(b, x, {1, 1, 2}, false);
  const Value corners = op::upsample_bilinear(b, x, {1, 1, 2}, true);
  check_close(run(b, nearest, {{1, 2, 3}}), {1, 1, 2, 2, 3, 3});
  check_close(run(b, centres, {{1, 2, 3}}), {1, 1.25, 1.75, 2.25, 2.75, 3});
  check_close(run(b, corners, {{1, 2, 3}}), {1, 1.4, 1.8, 2.2, 2.6, 3});
  Builder plane{Mode::inference};
  const Value square = plane.input({1, 1, 2, 2});
  const Value y = op::upsample_bilinear(plane, square, {1, 2, 2}, false);
  check_close(run(plane, y, {{0, 4, 8, 12}}), {0, 1, 3, 4, 2, 3, 5, 6, 6, 7, 9, 10, 8, 9, 11, 12});
}

TEST_CASE("normalisation") {
  Builder b{Mode::training};
  const Value x = b.input({2, 1, 1, 2});
  const Values batch{1, 10, 3, 20, 5, 30, 7, 60};  // two samples of two pixels of two channels
  const Value over_batch = op::moments(b, x, {.groups = 2, .over_batch = true});
  const Value instance = op::moments(b, x, {.groups = 2});
  const Value group = op::moments(b, x, {.groups = 1});
  check_close(run(b, over_batch, {batch}, 2), {4, 30, 5, 350});
  check_close(run(b, instance, {batch}, 2), {2, 15, 1, 25, 6, 45, 1, 225});
  check_close(run(b, group, {batch}, 2), {8.5, 55.25, 25.5, 493.25});
  const Value gamma = b.vector("scale", ParameterKind::scale, 2);
  const Value beta = b.vector("bias", ParameterKind::bias, 2);
  const Value y = op::normalize(b, x, over_batch, gamma, beta);
  const double epsilon = static_cast<double>(1e-5f);
  Values expected;
  for (std::size_t i = 0; i < batch.size(); ++i)
    expected.push_back(i % 2 == 0 ? 2 * (batch[i] - 4) / std::sqrt(5 + epsilon) + 1
                                  : -3 * (batch[i] - 30) / std::sqrt(350 + epsilon) + 5);
  check_close(run(b, y, {batch, {2, -3}, {1, 5}}, 2), expected);
}

TEST_CASE("running statistics blend the unbiased variance") {
  Builder b{Mode::training};
  const Value x = b.input({1, 1, 1, 2});
  const Value moments = op::moments(b, x, {.groups = 1, .over_batch = true, .momentum = 0.25f});
  const Value mean = b.vector("mean", ParameterKind::running_mean, 1);
  op::update_running(b, x, moments, mean, b.vector("variance", ParameterKind::running_variance, 1));
  const Node node = b.graph.nodes.back();
  std::vector<Values> values(static_cast<std::size_t>(b.graph.nodes.size()));
  values[static_cast<std::size_t>(moments.id)] = {4, 6};  // of 2 samples of 2 pixels: unbiased 8
  values[static_cast<std::size_t>(node.input[1])] = {8};
  values[static_cast<std::size_t>(node.input[2])] = {4};
  cpu::Eigen<double> reference;
  const Outcome after = run_node(reference, b.graph, node, values, {.batch = 2});
  check_close(after.inputs[1], {7});
  check_close(after.inputs[2], {5});
}

TEST_CASE("losses") {
  Builder b{Mode::training};
  const Value x = b.input({2, 1, 1, 2});
  const Value labels = b.input({1, 1, 1, 2});
  const Value weights = b.input({1, 1, 1, 2});
  const double p = 1 / (1 + std::exp(-1.0));  // softmax of (0, 1) is (1 - p, p)
  const std::vector<Values> leaves{{0, 1, 3, 3}, {1, 0}, {1, 3}};
  check_close(run(b, op::cross_entropy(b, x, labels, {}), leaves), {(-std::log(p) - std::log(0.5)) / 2, 2});
  check_close(run(b, op::cross_entropy(b, x, labels, weights), leaves), {(-std::log(p) - 3 * std::log(0.5)) / 4, 4});
  const DiceAttributes dice{.smooth_numerator = 1, .smooth_denominator = 2};
  const double d0 = (2 * 0.5 + 1) / ((1 - p + 0.5) + 1 + 2);
  const double d1 = (2 * p + 1) / ((p + 0.5) + 1 + 2);
  check_close(run(b, op::soft_dice(b, x, labels, dice), leaves),
              {1 - (d0 + d1) / 2, 0.5, 1 - p + 0.5, 1, p, p + 0.5, 1});
  DiceAttributes foreground = dice;
  foreground.include_background = false;
  foreground.squared = true;
  const double squared = (2 * p + 1) / ((p * p + 0.25) + 1 + 2);
  CHECK(run(b, op::soft_dice(b, x, labels, foreground), leaves)[0] == doctest::Approx(1 - squared).epsilon(1e-12));

  Builder one{Mode::training};
  const Value logit = one.input({1, 1, 1, 2});
  const Value y = one.input({1, 1, 1, 2});
  const std::vector<Values> binary{{1, -800}, {1, 1}};
  check_close(run(one, op::binary_cross_entropy(one, logit, y, {}), binary), {(-std::log(p) + 800) / 2, 2});
}

TEST_CASE("a batch without weight has loss 0 and gradient 0") {
  Builder b{Mode::training};
  const Value x = b.input({2, 1, 1, 2});
  const Value labels = b.input({1, 1, 1, 2});
  const Value weights = b.input({1, 1, 1, 2});
  const Value loss = op::cross_entropy(b, x, labels, weights);
  Node g{
      .op = Op::cross_entropy_gradient, .shape = b.shape(x), .input = {x.id, labels.id, loss.id, weights.id, -1, -1}};
  g.rate = 1;
  const Value dx = b.append(g);
  const std::vector<Values> leaves{{0, 1, 3, 3}, {1, 0}, {0, 0}};
  check_close(run(b, loss, leaves), {0, 0});
  check_close(run(b, dx, leaves), {0, 0, 0, 0});
}

TEST_CASE("dropout keeps the mean and repeats its draws") {
  Builder b{Mode::training};
  const Value x = b.input({3, 1, 40, 50});
  const Value y = op::dropout(b, x, 0.25f);
  const Values ones(3 * 40 * 50, 1.0);
  const Values once = run(b, y, {ones});
  CHECK(same_bits(once, run(b, y, {ones})));
  const auto kept = std::count(once.begin(), once.end(), 4.0 / 3.0);
  CHECK(kept + std::count(once.begin(), once.end(), 0.0) == 6000);
  CHECK(kept == doctest::Approx(4500).epsilon(0.03));
}

TEST_CASE("padding mirrors without repeating the edge; cropping takes the centre") {
  Builder b{Mode::inference};
  const Value x = b.input({1, 1, 1, 4});
  const Value mirrored = op::pad(b, x, {0, 0, 2}, {0, 0, 3}, Border::reflect);
  const Value zeros = op::pad(b, x, {0, 0, 1}, {0, 1, 0}, Border::zero);
  const Value centre = op::crop(b, x, {1, 1, 1});
  check_close(run(b, mirrored, {{1, 2, 3, 4}}), {3, 2, 1, 2, 3, 4, 3, 2, 1});
  check_close(run(b, zeros, {{1, 2, 3, 4}}), {0, 1, 2, 3, 4, 0, 0, 0, 0, 0});
  check_close(run(b, centre, {{1, 2, 3, 4}}), {2});
}
