// SPDX-License-Identifier: MIT
// Winograd convolutions of bf16 compute in float what those of float compute, and round it once.
#include <oneapi/tbb/task_arena.h>

#include "op_cases.hpp"
#include "ulna/backend/tbb/winograd.hpp"
#include "ulna/backend/tbb/winograd_weight_gradient.hpp"

using namespace ulna;
using namespace ulna::conformance;

namespace {

/// The Winograd convolutions of T; nothing else.
template <class T>
class Winograd {
 public:
  using Element = T;
  using Master = float;

  template <Op op>
  static constexpr Kernel<T> kernel(const Node&) {
    if constexpr (op == Op::convolution || op == Op::transposed_convolution)
      return &winograd::convolution<NativeIsa, T>;
    else if constexpr (op == Op::convolution_weight_gradient)
      return &winograd::weight_gradient<NativeIsa, T>;
    else
      return nullptr;
  }
  template <Op op>
  static std::size_t scratch_bytes(const Call<T>& call, int threads) {
    if constexpr (op == Op::convolution || op == Op::transposed_convolution)
      return winograd::convolution_scratch_bytes<NativeIsa, T>(call, threads);
    else if constexpr (op == Op::convolution_weight_gradient)
      return winograd::weight_gradient_scratch_bytes<NativeIsa, T>(call, threads);
    else
      return 0;
  }
  int threads() const { return arena_->max_concurrency(); }
  template <class F>
  void run(F&& f) const {
    arena_->execute(std::forward<F>(f));
  }
  template <class F>
  void parallel_for_blocks(std::int64_t count, std::int64_t, const F& f) const {
    f(std::int64_t{0}, count);
  }

 private:
  std::shared_ptr<tbb::task_arena> arena_ = std::make_shared<tbb::task_arena>(2);
};

/// Convolutions of as many channels as Winograd takes, with bias and activation.
Value wide_convolution(Draw& d) {
  const int in = d.one_of({16, 19, 32, 70});
  const int out = d.one_of({16, 17, 40, 64});
  const Value x = d.image(in, d.extent({1, 4, 4}));
  const Value weight = d.b.weight("weight", in, out, {1, 3, 3});
  return d.fused(op::convolution(d.b, x, weight, d.maybe(ParameterKind::bias, out), window2d(3, 1, 1)));
}

}  // namespace

TEST_CASE("Winograd convolutions of bf16") {
  int compared = 0;
  for (int variant = 0; variant < 2 * variants; ++variant) {
    CAPTURE(variant);
    Value y;
    const auto d = drawn({"wide_convolution", wide_convolution}, variant, y);
    const Value dy = append_dy(d->b, y);
    std::vector<Values> values = d->leaves<bf16>();
    const auto b = std::make_unique<Builder>(d->b);
    append_gradient(*b, y, dy, d->images.front());
    evaluate<bf16>(b->graph, values, b->graph.nodes.size(), d->batch, true);
    for (int id = 0; id < b->graph.nodes.size(); ++id) {
      const Node& n = b->graph.nodes[id];
      if (n.op != Op::convolution && n.op != Op::transposed_convolution && n.op != Op::convolution_weight_gradient)
        continue;
      const Conditions with{.batch = d->batch, .layout_seed = static_cast<std::uint64_t>(id) + 1};
      Winograd<bf16> backend;
      Winograd<float> in_float;
      const Values found = run_node(backend, b->graph, n, values, with).output;
      Values expected = run_node(in_float, b->graph, n, values, with).output;
      if (is_activation(n))
        for (double& v : expected) v = static_cast<double>(static_cast<float>(bf16(v)));
      CHECK(same_bits(found, expected));
      ++compared;
    }
  }
  CHECK(compared > 100);
}
