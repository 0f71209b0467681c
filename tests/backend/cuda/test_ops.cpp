// SPDX-License-Identifier: MIT
// Every op of the CUDA backend but the convolutions, done by the host, against Eigen<double>: awkward shapes, slices,
// in place, accumulated. Convolutions: test_convolution*.cpp.
#include "on_host.hpp"

using namespace ulna;
using namespace ulna::conformance;

namespace {

/// Threads that run in another order leave the same bits, or one of them reads what another writes.
template <class T>
void check_order(const Graph<>& graph, const Node& n, const std::vector<Values>& values, const Conditions& with) {
  CudaOnHost<T> forwards;
  CudaOnHost<T, true> backwards;
  CHECK_MESSAGE(
      same_bits(run_node(forwards, graph, n, values, with).output, run_node(backwards, graph, n, values, with).output),
      "the order of threads shows");
}

/// Every node of a case, forward and backward, but convolutions. Marks the ops that ran.
template <class T>
void check_case(Draw& d, Value y, bool differentiable, std::array<bool, static_cast<std::size_t>(Op::count)>& ran) {
  const Value dy = append_dy(d.b, y);
  std::vector<Values> values = d.leaves<T>();
  const auto b = std::make_unique<Builder>(d.b);
  if (differentiable) append_gradient(*b, y, dy, d.images.empty() ? -1 : d.images.front());
  const Graph<>& graph = b->graph;
  evaluate<T>(graph, values, graph.nodes.size(), d.batch, true);
  for (int id = 0; id < graph.nodes.size(); ++id) {
    Node n = graph.nodes[id];
    ran[static_cast<std::size_t>(n.op)] = true;
    if (is_leaf(n.op) || n.op == Op::slice || cuda::is_convolution(n.op)) continue;
    INFO("node " << id << ", " << std::string(name_of(n.op)) << ", activation " << static_cast<int>(n.activation)
                 << ", channels " << n.shape.channels << ", height " << n.shape.height << ", width " << n.shape.width
                 << ", batch " << d.batch);
    for (const bool accumulate : {false, true}) {
      if (accumulate && n.gradient_of < 0) continue;
      Conditions with{.batch = d.batch, .layout_seed = static_cast<std::uint64_t>(id) + 1};
      n.accumulate = accumulate;
      if (accumulate)
        for (std::size_t i = 0; i < size_of(n, d.batch); ++i)
          with.prior.push_back(static_cast<double>(d.random.normal()));
      check_node<CudaOnHost<T>>(graph, n, values, with);
      check_order<T>(graph, n, values, with);
    }
  }
}

template <class T>
void check_all(bool volumes, int count) {
  std::array<bool, static_cast<std::size_t>(Op::count)> ran{};
  for (const OpCase& op : ops)
    for (int variant = 0; variant < count; ++variant) {
      INFO("case " << std::string(op.name));
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y, volumes);
      check_case<T>(*d, y, op.differentiable, ran);
    }
  for (std::size_t op = 0; op < ran.size(); ++op)
    CHECK_MESSAGE(ran[op], "no line of the list runs " << std::string(name_of(static_cast<Op>(op))));
}

}  // namespace

TEST_CASE("CUDA bodies on the host agree with the reference") { check_all<float>(false, variants); }

TEST_CASE("CUDA bodies on bf16 activations agree with the reference") { check_all<bf16>(false, 6); }

TEST_CASE("CUDA bodies on the host agree with the reference on volumes") { check_all<float>(true, 4); }

TEST_CASE("a pixel's bits do not depend on where it lies") {
  for (const OpCase& op : ops) {
    INFO("case " << std::string(op.name));
    int compared = 0;
    bool local = false;
    for (int variant = 0; variant < variants; ++variant) {
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y);
      std::vector<Values> values = d->leaves();
      evaluate(d->b.graph, values, d->b.graph.nodes.size(), d->batch, true);
      const Node node = d->b.graph.node(y);
      if (!is_local(node) || cuda::is_convolution(node.op)) continue;
      local = true;
      compared += check_positions<CudaOnHost<float>>(*d, node, d->b.graph, values);
    }
    CHECK((!local || compared > 100));
  }
}
