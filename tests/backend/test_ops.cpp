// SPDX-License-Identifier: MIT
// Every op on every backend: forward against Eigen<double>, gradients against central differences, any number of
// threads, any position in the image, in place, as slices.
#include <oneapi/tbb/global_control.h>

#include "op_cases.hpp"
#include "ulna/backend/tbb/tbb.hpp"

using namespace ulna;
using namespace ulna::conformance;

/// Every backend that is compared with Eigen<double>. Winograd convolutions round differently: test_winograd_tbb.cpp.
using Backends = std::tuple<cpu::Eigen<float>, cpu::Tbb<float, arithmetic::Direct>>;

namespace {

/// Lets oneTBB use four threads on a machine of fewer.
const tbb::global_control four_threads(tbb::global_control::max_allowed_parallelism, 4);

}  // namespace

TEST_CASE("gradients equal central differences") {
  for (const OpCase& op : ops)
    for (int variant = 0; variant < variants && op.differentiable; ++variant) {
      INFO("case " << std::string(op.name));
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y);
      if (!d->large) check_gradients(*d, y);
    }
}

TEST_CASE("gradients of volumes equal central differences") {
  for (const OpCase& op : ops)
    for (int variant = 0; variant < 4 && op.differentiable; ++variant) {
      INFO("case " << std::string(op.name));
      CAPTURE(variant);
      Value y;
      check_gradients(*drawn(op, variant, y, true), y);
    }
}

TEST_CASE_TEMPLATE_DEFINE("backends agree with the reference", B, agreement) {
  std::array<bool, static_cast<std::size_t>(Op::count)> ran{};
  for (const OpCase& op : ops)
    for (int variant = 0; variant < variants; ++variant) {
      INFO("case " << std::string(op.name));
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y);
      check_backend<B>(*d, y, op.differentiable, ran);
    }
  for (std::size_t op = 0; op < ran.size(); ++op)
    CHECK_MESSAGE(ran[op], "no line of the list runs " << std::string(name_of(static_cast<Op>(op))));
}
TEST_CASE_TEMPLATE_APPLY(agreement, Backends);

TEST_CASE_TEMPLATE_DEFINE("a pixel's bits do not depend on where it lies", B, positions) {
  for (const OpCase& op : ops) {
    INFO("case " << std::string(op.name));
    int compared = 0;
    bool local = false;
    for (int variant = 0; variant < variants; ++variant) {
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y);
      std::vector<Values> values = d->leaves<typename B::Element>();
      evaluate<typename B::Element>(d->b.graph, values, d->b.graph.nodes.size(), d->batch, true);
      const Node node = d->b.graph.node(y);
      if (!is_local(node)) continue;
      local = true;
      compared += check_positions<B>(*d, node, d->b.graph, values);
    }
    CHECK((!local || compared > 100));
  }
}
TEST_CASE_TEMPLATE_APPLY(positions, Backends);
TEST_CASE_TEMPLATE_INVOKE(positions, cpu::Eigen<double>);

/// The memory plan puts producers of a concatenation into its channels: then there is nothing to copy.
TEST_CASE_TEMPLATE_DEFINE("concat leaves alone what already lies there", B, aliasing) {
  using T = typename B::Element;
  Builder b{Mode::inference};
  const Value x = b.input({3, 1, 4, 5});
  const Value y = b.input({2, 1, 4, 5});
  const Node node = b.graph.node(op::concat(b, x, y));
  std::vector<T> out(20 * 5, T{7});
  std::vector<T> second(20 * 2, T{9});
  Call<T> call;
  call.node = &node;
  call.batch = 1;
  call.output = {out.data(), node.shape, 1, 5, 100};
  call.input[0] = {out.data(), b.shape(x), 1, 5, 100};
  call.input[1] = {second.data(), b.shape(y), 1, 2, 40};
  B backend = make_backend<B>(1);
  backend.run([&] { B::template kernel<Op::concat>(node)(call); });
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == (i % 5 < 3 ? T{7} : T{9}));
}
TEST_CASE_TEMPLATE_APPLY(aliasing, Backends);
