// SPDX-License-Identifier: MIT
// On a machine with a device: every op and whole programs against the reference, and the same bits run after run.
// On one without: one clear exception.
#include <set>

#include "../backend/op_cases.hpp"
#include "trace.hpp"

using namespace ulna;
using namespace ulna::conformance;
using ulna::testing::Products;

namespace {

const std::string no_device = testing::why_no_device();
const bool here = no_device.empty();

/// The device as a backend of the conformance tests.
template <Products P>
struct OnDevice {
  using Element = float;
  int threads() const { return 1; }
  void run(auto&& f) const { f(); }

  template <Op op>
  static constexpr Kernel<float> kernel(const Node&) {
    return [](const Call<float>& call) { testing::run_on_device(op, P, call); };
  }
  template <Op op>
  static std::size_t scratch_bytes(const Call<float>& call, int) {
    return testing::device_scratch_bytes(op, P, call);
  }
};

/// Products round their factors to 11 bits; everything else is float.
double tolerance_of(Op op, Products products) {
  const bool product =
      op == Op::convolution || op == Op::transposed_convolution || op == Op::convolution_weight_gradient;
  return product && products == Products::tf32 ? 2e-3 : float_tolerance;
}

template <Products P>
void check_node_on_device(const Graph<>& graph, const Node& n, const std::vector<Values>& values, Conditions with) {
  cpu::Eigen<double> reference;
  OnDevice<P> device;
  const Outcome expected = run_node(reference, graph, n, values, with);
  const Outcome found = run_node(device, graph, n, values, with);
  CHECK(relative_error(found.output, expected.output) <= tolerance_of(n.op, P));
  for (std::size_t i = 0; i < max_inputs; ++i)
    CHECK(relative_error(found.inputs[i], expected.inputs[i]) <= (n.op == Op::update_running ? float_tolerance : 0.0));
  CHECK_MESSAGE(same_bits(run_node(device, graph, n, values, with).output, found.output), "another run, other bits");
  const int taken = with_op(n.op, []<Op op>() { return OpRule<op>::in_place; });
  if (taken != 0 || !is_image(n)) return;
  with.in_place = true;
  CHECK_MESSAGE(same_bits(run_node(device, graph, n, values, with).output, found.output), "in place");
}

template <Products P>
void check_case(Draw& d, Value y, bool differentiable) {
  const Value dy = append_dy(d.b, y);
  std::vector<Values> values = d.leaves();
  const auto b = std::make_unique<Builder>(d.b);
  if (differentiable) append_gradient(*b, y, dy, d.images.empty() ? -1 : d.images.front());
  const Graph<>& graph = b->graph;
  evaluate(graph, values, graph.nodes.size(), d.batch, true);
  for (int id = 0; id < graph.nodes.size(); ++id) {
    Node n = graph.nodes[id];
    if (is_leaf(n.op) || n.op == Op::slice) continue;
    INFO("node " << id << ", " << std::string(name_of(n.op)) << ", channels " << n.shape.channels << ", height "
                 << n.shape.height << ", width " << n.shape.width << ", batch " << d.batch);
    for (const bool accumulate : {false, true}) {
      if (accumulate && n.gradient_of < 0) continue;
      Conditions with{.batch = d.batch, .layout_seed = static_cast<std::uint64_t>(id) + 1};
      n.accumulate = accumulate;
      if (accumulate) with.prior.assign(size_of(n, d.batch), 0.75);
      check_node_on_device<P>(graph, n, values, with);
    }
  }
}

template <Products P>
void check_ops() {
  for (const OpCase& op : ops)
    for (int variant = 0; variant < variants; ++variant) {
      INFO("case " << std::string(op.name));
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y);
      check_case<P>(*d, y, op.differentiable);
    }
}

void check_trace(Products products, double tolerance) {
  const testing::Trace found = testing::trace_on_device(products);
  const testing::Trace expected = testing::trace<cpu::Eigen<float>>();
  CHECK(relative_error(found.losses, expected.losses) <= tolerance);
  CHECK(relative_error(found.gradient_norms, expected.gradient_norms) <= 10 * tolerance);
  CHECK(relative_error(found.parameters, expected.parameters) <= 10 * tolerance);
  CHECK(relative_error(found.state, expected.state) <= 10 * tolerance);
  CHECK(relative_error(found.logits, expected.logits) <= 10 * tolerance);
}

}  // namespace

TEST_CASE("without a device there is one clear exception" * doctest::skip(here)) {
  MESSAGE(no_device);
  CHECK(no_device.rfind("cuda::Device: ", 0) == 0);
  CHECK(no_device.find("cudaError") != std::string::npos);
  CHECK_THROWS_WITH_AS(testing::trace_on_device(Products::exact), no_device.c_str(), Error);
}

TEST_CASE("every op on the device, exactly" * doctest::skip(!here)) { check_ops<Products::exact>(); }
TEST_CASE("every op on the device, in TF32" * doctest::skip(!here)) { check_ops<Products::tf32>(); }

TEST_CASE("training and prediction on the device follow the reference" * doctest::skip(!here)) {
  check_trace(Products::exact, 1e-4);
  check_trace(Products::tf32, 5e-3);
}

TEST_CASE("the same bits run after run" * doctest::skip(!here)) {
  const std::vector<std::uint64_t> hashes = testing::hashes_on_device(5);
  CHECK(std::set<std::uint64_t>(hashes.begin(), hashes.end()).size() == 1);
}
