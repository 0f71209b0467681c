// SPDX-License-Identifier: MIT
// Fusing: which nodes are left, and which must stay.
#include <doctest/doctest.h>

#include "ulna/model/unet.hpp"
#include "ulna/program.hpp"
#include "ulna/train/loss.hpp"

using namespace ulna;

namespace {

constexpr int count(const auto& graph, Op op) {
  int n = 0;
  for (const Node& node : graph.nodes) n += node.op == op;
  return n;
}

/// Nodes that run at every inference.
constexpr int running(const auto& graph) {
  int n = 0;
  for (const Node& node : graph.nodes) n += !is_leaf(node.op) && !node.once;
  return n;
}

// A U-Net of depth 4 is 18 convolutions in blocks, 4 pools, 4 transposed convolutions, 4 concatenations and a head,
// whatever its norm.
template <class Net>
constexpr auto& graph = Program<Net, Image<1, 32, 32>>::inference.graph;

using WithNorm = UNet<Width<4>>;
using WithoutNorm = UNet<Width<4>, norm::None>;
static_assert(running(graph<WithNorm>) == 31);
static_assert(running(graph<WithoutNorm>) == 31);
static_assert(count(graph<WithNorm>, Op::activation) == 0 && count(graph<WithNorm>, Op::affine) == 0);
static_assert(count(graph<WithNorm>, Op::fold_weight) == 18 && count(graph<WithNorm>, Op::fold_bias) == 18);
static_assert(count(graph<WithNorm>, Op::running_affine) == 18);
static_assert(count(graph<WithoutNorm>, Op::activation) == 0);
static_assert(count(graph<UNet<Width<4>, Dropout<>>>, Op::dropout) == 0);  // the identity at inference
// Statistics of the image stay at inference; the activation goes into the normalisation.
static_assert(count(graph<UNet<Width<4>, norm::Instance<>>>, Op::normalize) == 18);
static_assert(count(graph<UNet<Width<4>, norm::Instance<>>>, Op::activation) == 0);

/// Every folded weight belongs to a convolution that applies the activation of its block.
constexpr bool blocks_are_single_nodes(const auto& g) {
  int folded = 0;
  for (const Node& n : g.nodes) {
    if (n.op != Op::convolution || g.input(n, 1).op != Op::fold_weight) continue;
    ++folded;
    if (n.activation != Activation::relu || g.input(n, 2).op != Op::fold_bias) return false;
  }
  return folded == 18;
}
static_assert(blocks_are_single_nodes(graph<WithNorm>));

// In training, norms keep their statistics and take the activation.
constexpr auto& training = TrainingProgram<Program<WithNorm, Image<1, 32, 32>>, CrossEntropy>::compiled.graph;
static_assert(count(training, Op::moments) == 18 && count(training, Op::update_running) == 18);
static_assert(count(training, Op::normalize) == 18 && count(training, Op::activation) == 0);
static_assert(count(training, Op::fold_weight) == 0);
// One gradient of every convolution's weight; of the input for all but the first.
static_assert(count(training, Op::convolution_weight_gradient) == 18 + 4 + 1);
static_assert(count(training, Op::max_pool_gradient) == 4);
static_assert(count(training, Op::normalize_gradient) == 18);

/// A value that others read too must stay what it is.
struct ReadTwice {
  static constexpr Value lower(Builder& b, Value x) {
    const Value a = layer::conv(b, x, {.channels = 2}, "a");
    return op::add(b, op::activation(b, a, Activation::relu), a);
  }
};
static_assert(count(graph<ReadTwice>, Op::activation) == 1);

struct NormReadTwice {
  static constexpr Value lower(Builder& b, Value x) {
    const Value a = layer::conv(b, x, {.channels = 2}, "a");
    return op::add(b, norm::Batch::lower(b, a), a);
  }
};
static_assert(count(graph<NormReadTwice>, Op::affine) == 1 && count(graph<NormReadTwice>, Op::fold_weight) == 0);

// The convolution's own activation comes before the norm, so the norm cannot be folded; it takes the second activation.
using ActThenNorm = Sequential<Conv<2>, activation::ReLU, norm::Batch, activation::Sigmoid>;
static_assert(count(graph<ActThenNorm>, Op::affine) == 1 && count(graph<ActThenNorm>, Op::fold_weight) == 0);
static_assert(count(graph<ActThenNorm>, Op::activation) == 0);

// One activation a node.
using TwoActivations = Sequential<Conv<2>, activation::ReLU, activation::Sigmoid>;
static_assert(count(graph<TwoActivations>, Op::activation) == 1);

// The output is read by the caller: an activation after it is fused, one in the middle of a fork is not.
using EndsInActivation = Sequential<Conv<2>, activation::ReLU>;
static_assert(count(graph<EndsInActivation>, Op::activation) == 0);
static_assert(graph<EndsInActivation>.nodes[graph<EndsInActivation>.output].activation == Activation::relu);

// Sums take an activation.
using ResidualReLU = Sequential<Conv<2>, Residual<Conv<2>>, activation::ReLU>;
static_assert(count(graph<ResidualReLU>, Op::activation) == 0);

}  // namespace

TEST_CASE("a leaky slope survives fusing") {
  const auto& g = graph<Sequential<Conv<2>, norm::Batch, activation::LeakyReLU<std::ratio<1, 5>>>>;
  REQUIRE(running(g) == 1);
  CHECK(g.nodes[g.output].activation == Activation::leaky_relu);
  CHECK(g.nodes[g.output].slope == 0.2f);
}
