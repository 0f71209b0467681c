// SPDX-License-Identifier: MIT
// Fusing: which nodes are left, and which must stay.
#include <doctest/doctest.h>

#include "ulna/model/attention_unet.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/trans_unet.hpp"
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

// --- residuals

constexpr int residuals(const auto& g, ResidualSum order) {
  int n = 0;
  for (const Node& node : g.nodes) n += node.residual == order;
  return n;
}

/// Convolutions after which a residual is added, before or after their activation; `left`: sums of their own.
template <class Net>
constexpr bool sums_are(int before, int after, int left) {
  const auto& g = graph<Net>;
  return residuals(g, ResidualSum::before_activation) == before &&
         residuals(g, ResidualSum::after_activation) == after && count(g, Op::add) == left;
}

// An activation after the sum goes in too.
using ResidualReLU = Sequential<Conv<2>, Residual<Conv<2>>, activation::ReLU>;
static_assert(sums_are<ResidualReLU>(1, 0, 0) && count(graph<ResidualReLU>, Op::activation) == 0);
// One before it stays before it. A second one is a pass of its own.
using AfterReLU = Sequential<Conv<2>, Residual<Sequential<Conv<2>, norm::Batch, activation::ReLU>>>;
static_assert(sums_are<AfterReLU>(0, 1, 0) && count(graph<AfterReLU>, Op::activation) == 0);
static_assert(sums_are<Sequential<AfterReLU, activation::Sigmoid>>(0, 1, 0));
static_assert(count(graph<Sequential<AfterReLU, activation::Sigmoid>>, Op::activation) == 1);
// One residual a convolution.
static_assert(sums_are<Sequential<Conv<2>, Residual<Residual<Conv<2>>>>>(1, 0, 1));
// Gelu goes in at inference alone: training keeps what its gradient reads.
using AfterGELU = Sequential<Conv<2>, Residual<Sequential<Conv<2>, activation::GELU>>>;
static_assert(sums_are<AfterGELU>(0, 1, 0) && count(graph<AfterGELU>, Op::activation) == 0);
static_assert(count(TrainingProgram<Program<AfterGELU, Image<1, 8, 8>>, CrossEntropy>::compiled.graph,
                    Op::activation) == 1);

/// What is added must be there when the convolution runs, and the convolution's own result read by nobody else.
struct SumOfLater {
  static constexpr Value lower(Builder& b, Value x) {
    const Value a = layer::conv(b, x, {.channels = 2}, "a");
    return op::add(b, a, op::softmax(b, layer::conv(b, x, {.channels = 2}, "c")));
  }
};
static_assert(sums_are<SumOfLater>(0, 0, 1));
static_assert(sums_are<ReadTwice>(0, 0, 1) && sums_are<NormReadTwice>(0, 0, 1));

// Both operands are convolutions: the later one adds the other. An attention gate's sum of projections.
static_assert(sums_are<AttentionUNet<Width<4>, Depth<2>>>(2, 0, 0));
// An R2 block sums twice in each of two recurrent convolutions, after ReLU, and adds its shortcut to the second.
static_assert(sums_are<R2UNet<Width<4>, Depth<1>>>(0, 3 * 5, 0));
// Separate kernels: these sums come before the norm, so that the shortcut meets no convolution.
static_assert(sums_are<R2UNet<Width<4>, Depth<1>, R2Blocks<recurrent::SeparateKernels>>>(3 * 4, 0, 3));
static_assert(sums_are<UNet<Width<4>, Depth<2>, skip::Sum>>(0, 0, 2));  // of transposed convolutions
static_assert(sums_are<UNet<Width<4>, Depth<2>, skip::Sum, up::NearestConv<2>>>(2, 0, 0));

// A transformer's layer adds what attention and the perceptron give; a ResNet's unit adds after a group norm.
using SmallTransUNet = TransUNet<Classes<2>, Hidden<12>, Layers<3>, Heads<3>, Mlp<10>, Units<1, 1, 1>, Width<4>,
                                 Groups<2>, Bridge<6>, Decoder<8, 6, 4, 2>>;
static_assert(sums_are<SmallTransUNet>(2 * 3, 0, 3));

// --- pools

/// Convolutions that compute a max pool of their output too, and max pools that
/// are left to run.
template <class Net>
constexpr bool pools_are(int computed, int left) {
  const auto& g = graph<Net>;
  int convolutions = 0, pools = 0;
  for (int i = 0; i < g.nodes.size(); ++i) {
    pools += g.nodes[i].op == Op::max_pool && runs(g.nodes[i]);
    if (const int pool = pool_of(g, i); pool >= 0) convolutions += g.nodes[pool].input[0] == i && !runs(g.nodes[pool]);
  }
  return convolutions == computed && pools == left;
}
static_assert(pools_are<WithNorm>(4, 0) && pools_are<AttentionUNet<Width<4>, Depth<2>>>(2, 0));
static_assert(pools_are<R2UNet<Width<4>, Depth<1>>>(1, 0));  // of a convolution with a residual
static_assert(pools_are<UNet<Width<4>, Depth<2>, norm::Instance<>>>(0, 2));
static_assert(pools_are<SmallTransUNet>(0, 1));  // 3x3, of a normalisation
static_assert(pools_are<Concat<Sequential<Conv<2>, MaxPool<>>, Sequential<Conv<2>, MaxPool<>>>>(2, 0));
static_assert(pools_are<Sequential<Conv<2>, Concat<MaxPool<>, MaxPool<>>>>(1, 1));  // one a convolution

// Training keeps its sums and pools.
static_assert(
    residuals(TrainingProgram<Program<R2UNet<Width<4>, Depth<1>>, Image<1, 8, 8>>, CrossEntropy>::compiled.graph,
              ResidualSum::none) ==
    TrainingProgram<Program<R2UNet<Width<4>, Depth<1>>, Image<1, 8, 8>>, CrossEntropy>::compiled.graph.nodes.size());

}  // namespace

TEST_CASE("a leaky slope survives fusing") {
  const auto& g = graph<Sequential<Conv<2>, norm::Batch, activation::LeakyReLU<std::ratio<1, 5>>>>;
  REQUIRE(running(g) == 1);
  CHECK(g.nodes[g.output].activation == Activation::leaky_relu);
  CHECK(g.nodes[g.output].slope == 0.2f);
}
