// SPDX-License-Identifier: MIT
// Every op on activations of bf16: the same checks as for float, on inputs that are exact in bf16, so that all that may
// differ from the reference is the rounding of the result.
#include <oneapi/tbb/global_control.h>

#include "op_cases.hpp"
#include "ulna/backend/tbb/tbb.hpp"

using namespace ulna;
using namespace ulna::conformance;

namespace {

const tbb::global_control four_threads(tbb::global_control::max_allowed_parallelism, 4);

using B = cpu::Tbb<bf16, arithmetic::Direct>;

}  // namespace

TEST_CASE("bf16 agrees with the reference") {
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

TEST_CASE("bf16: a pixel's bits do not depend on where it lies") {
  for (const OpCase& op : ops) {
    INFO("case " << std::string(op.name));
    int compared = 0;
    bool local = false;
    for (int variant = 0; variant < variants; ++variant) {
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y);
      std::vector<Values> values = d->leaves<bf16>();
      evaluate<bf16>(d->b.graph, values, d->b.graph.nodes.size(), d->batch, true);
      const Node node = d->b.graph.node(y);
      if (!is_local(node)) continue;
      local = true;
      compared += check_positions<B>(*d, node, d->b.graph, values);
    }
    CHECK((!local || compared > 100));
  }
}
