// SPDX-License-Identifier: MIT
// On a machine with a device: every op and whole programs against the reference, and the same bits run after run.
// On one without: one clear exception.
#include <set>

#include "../backend/op_cases.hpp"
#include "trace.hpp"

using namespace ulna;
using namespace ulna::conformance;
using ulna::testing::Precision;

namespace {

const std::string no_device = testing::why_no_device();
const bool here = no_device.empty();

template <Precision P>
using ElementOf = std::conditional_t<P == Precision::bf16, bf16, float>;

/// The device as a backend of the conformance tests.
template <Precision P>
struct OnDevice {
  using Element = ElementOf<P>;
  using Master = float;
  int threads() const { return 1; }
  void run(auto&& f) const { f(); }

  static inline testing::Activations activations{};  ///< of the node that runs next

  template <Op op>
  static constexpr Kernel<Element> kernel(const Node&) {
    return [](const Call<Element>& call) { testing::run_on_device(op, P, call, activations); };
  }
  template <Op op>
  static std::size_t scratch_bytes(const Call<Element>& call, int) {
    return testing::device_scratch_bytes(op, P, call);
  }
};

/// Products of TF32 round their factors to 11 bits; bf16 rounds every activation that is written; all else is float,
/// which Winograd's transforms round more often.
template <Precision P>
double tolerance_of(const Node& n) {
  const bool product =
      n.op == Op::convolution || n.op == Op::transposed_convolution || n.op == Op::convolution_weight_gradient;
  if (P == Precision::tf32 && product) return 2e-3;
  if (P == Precision::winograd && product) return 1e-4;
  return P == Precision::bf16 && is_activation(n) ? bf16_tolerance : float_tolerance;
}

template <Precision P>
void check_node_on_device(const Graph<>& graph, Node n, const std::vector<Values>& values, Conditions with) {
  n.pooled = false;  // a second output: whole programs have it
  cpu::Eigen<double> reference;
  OnDevice<P> device;
  for (std::size_t i = 0; i < max_inputs; ++i)
    OnDevice<P>::activations[i] = n.input[i] >= 0 && is_activation(graph, n.input[i]);
  OnDevice<P>::activations[max_inputs] = is_activation(n);
  const Outcome expected = run_node(reference, graph, n, values, with);
  const Outcome found = run_node(device, graph, n, values, with);
  CHECK(relative_error(found.output, expected.output) <= tolerance_of<P>(n));
  for (std::size_t i = 0; i < max_inputs; ++i)
    CHECK(relative_error(found.inputs[i], expected.inputs[i]) <= (n.op == Op::update_running ? float_tolerance : 0.0));
  CHECK_MESSAGE(same_bits(run_node(device, graph, n, values, with).output, found.output), "another run, other bits");
  with.in_place =
      n.residual != ResidualSum::none ? residual_input : with_op(n.op, []<Op op>() { return OpRule<op>::in_place; });
  if (with.in_place < 0 || !is_image(n)) return;
  CHECK_MESSAGE(same_bits(run_node(device, graph, n, values, with).output, found.output), "in place");
}

/// Operands lie between channels of others, or dense: a device takes those in larger pieces.
enum class Operand { scattered, dense };

template <Precision P>
void check_case(Draw& d, Value y, bool differentiable, Operand operand = Operand::scattered) {
  const Value dy = append_dy(d.b, y);
  std::vector<Values> values = d.leaves<ElementOf<P>>();
  const auto b = std::make_unique<Builder>(d.b);
  if (differentiable) append_gradient(*b, y, dy, d.images.empty() ? -1 : d.images.front());
  const Graph<>& graph = b->graph;
  evaluate<ElementOf<P>>(graph, values, graph.nodes.size(), d.batch, true);
  for (int id = 0; id < graph.nodes.size(); ++id) {
    Node n = graph.nodes[id];
    if (is_leaf(n.op) || n.op == Op::slice) continue;
    INFO("node " << id << ", " << std::string(name_of(n.op)) << ", channels " << n.shape.channels << ", height "
                 << n.shape.height << ", width " << n.shape.width << ", batch " << d.batch);
    for (const bool accumulate : {false, true}) {
      if (accumulate && n.gradient_of < 0) continue;
      const int layout = operand == Operand::dense ? 0 : id + 1;
      Conditions with{.batch = d.batch, .layout_seed = static_cast<std::uint64_t>(layout)};
      n.accumulate = accumulate;
      if (accumulate) with.prior.assign(size_of(n, d.batch), 0.75);
      check_node_on_device<P>(graph, n, values, with);
    }
  }
}

template <Precision P>
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

/// Enough channels and pixels, whole and dense, for every way that a device has of multiplying: products of warpgroups,
/// operands brought by the copy engine. A transposed convolution in four phases, and a 3x3 one of its output.
template <Precision P>
void check_wide_convolutions() {
  const OpCase wide{"wide_convolutions", [](Draw& d) {
                      const Value x = d.image(64, {1, 16, 24});
                      const Value weight = d.b.transposed_weight("up", 64, 128, {1, 2, 2});
                      const Value up = op::transposed_convolution(d.b, x, weight, {}, window2d(2, 2));
                      return op::convolution(d.b, up, d.b.weight("weight", 128, 192, {1, 3, 3}),
                                             d.vector(ParameterKind::bias, 192), window2d(3, 1, 1));
                    }};
  Value y;
  const auto d = drawn(wide, 0, y);
  check_case<P>(*d, y, true, Operand::dense);
}

/// `loss`, `rest`: what losses, and all else that a short training leaves, may differ by.
void check_trace(Precision precision, double loss, double rest) {
  const testing::Trace found = testing::trace_on_device(precision);
  const testing::Trace expected = testing::trace<cpu::Eigen<float>>();
  CAPTURE(static_cast<int>(precision));
  CHECK(relative_error(found.losses, expected.losses) <= loss);
  CHECK(relative_error(found.gradient_norms, expected.gradient_norms) <= rest);
  CHECK(relative_error(found.parameters, expected.parameters) <= rest);
  CHECK(relative_error(found.state, expected.state) <= rest);
  CHECK(relative_error(found.logits, expected.logits) <= rest);
}

}  // namespace

TEST_CASE("without a device there is one clear exception" * doctest::skip(here)) {
  MESSAGE(no_device);
  CHECK(no_device.rfind("cuda::Device: ", 0) == 0);
  CHECK(no_device.find("cudaError") != std::string::npos);
  CHECK_THROWS_WITH_AS(testing::trace_on_device(Precision::exact), no_device.c_str(), Error);
}

TEST_CASE("a driver that is too old, and missing code, are named with the remedy") {
  const auto [driver, code] = testing::messages_about_versions();
  CHECK(driver.rfind("cuda::Device: the NVIDIA driver is for CUDA 11.8, this program was built with CUDA 1", 0) == 0);
  CHECK(driver.find("; install a newer driver or build with an older toolkit (cudaErrorInsufficientDriver: ") !=
        std::string::npos);
  CHECK(code.rfind("device 0, NVIDIA X: cudaErrorNoKernelImageForDevice: ", 0) == 0);
  CHECK(code.find("; this program was compiled for the architectures ") != std::string::npos);
}

TEST_CASE("a device that is not there is named" * doctest::skip(!here)) {
  CHECK(testing::why_no_device(1000).rfind("cuda::Device: device 1000 was asked for, there ", 0) == 0);
  CHECK(testing::why_no_device(-1).rfind("cuda::Device: device -1 was asked for, there ", 0) == 0);
}

TEST_CASE("every op on the device, exactly" * doctest::skip(!here)) { check_ops<Precision::exact>(); }
TEST_CASE("every op on the device, in TF32" * doctest::skip(!here)) { check_ops<Precision::tf32>(); }
TEST_CASE("every op on the device, in bf16" * doctest::skip(!here)) { check_ops<Precision::bf16>(); }

TEST_CASE("wide convolutions on the device" * doctest::skip(!here)) {
  check_wide_convolutions<Precision::exact>();
  check_wide_convolutions<Precision::tf32>();
  check_wide_convolutions<Precision::bf16>();
  check_wide_convolutions<Precision::winograd>();
}

TEST_CASE("training and prediction on the device follow the reference" * doctest::skip(!here)) {
  check_trace(Precision::exact, 1e-4, 1e-3);
  check_trace(Precision::tf32, 5e-3, 5e-2);
  check_trace(Precision::bf16, 2e-2, 2e-1);
}

TEST_CASE("a captured graph does what its nodes do one by one" * doctest::skip(!here)) {
  for (const Precision precision : testing::precisions)
    CHECK(testing::trace_on_device(precision) == testing::trace_on_device(precision, true));
}

TEST_CASE("the same bits run after run" * doctest::skip(!here)) {
  for (const Precision precision : testing::precisions) {
    const auto hashes = testing::hashes_on_device(precision, 5, false, false);
    CHECK(std::set<std::uint64_t>(hashes.begin(), hashes.end()).size() == 1);
  }
}

TEST_CASE("models that share a device leave each other alone" * doctest::skip(!here)) {
  for (const Precision precision : testing::precisions) {
    const auto alone = testing::hashes_on_device(precision, 3, true, false);
    CHECK(std::set<std::uint64_t>(alone.begin(), alone.end()).size() == 3);
    CHECK(testing::hashes_on_device(precision, 3, true, true) == alone);
  }
}

TEST_CASE("a profile on the device has the time of every node, and what the device can do" * doctest::skip(!here)) {
  for (const Precision precision : testing::precisions) {
    CAPTURE(static_cast<int>(precision));
    for (const Profile& profile : testing::profiles_on_device(precision)) {
      MESSAGE(profile.machine.flops * 1e-12 << " TFLOP/s, " << profile.machine.bytes_per_second * 1e-9 << " GB/s");
      // any device since 2020 and for a while
      CHECK(profile.machine.flops > 1e12);
      CHECK(profile.machine.flops < 1e16);
      CHECK(profile.machine.bytes_per_second > 5e10);
      CHECK(profile.machine.bytes_per_second < 1e14);
      double sum = 0.0;
      for (const ProfileRow& row : profile.rows) {
        INFO(row.path << ", " << row.op);
        CHECK(row.seconds >= 0.0);
        CHECK(row.seconds < 0.1);
        CHECK(row.seconds >= 0.3 * row.roofline_seconds);
        sum += row.seconds;
      }
      CHECK(sum > 0.0);
      CHECK(sum < 2.0 * profile.seconds);  // medians of parts, and of the whole
      CHECK(sum > 0.5 * profile.seconds);
    }
  }
}

TEST_CASE("too little device memory is refused with what would fit, and nothing is taken" * doctest::skip(!here)) {
  for (const std::string& message : testing::messages_about_memory()) {
    CAPTURE(message);
    CHECK(message.rfind("device 0, ", 0) == 0);
    for (const char* part : {" needs ", " MiB of device memory, ", " MiB are free; a batch of ", " would fit"})
      CHECK(message.find(part) != std::string::npos);
  }
  CHECK_NOTHROW(testing::trace_on_device(Precision::exact));
}
