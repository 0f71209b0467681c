// SPDX-License-Identifier: MIT
// The type bf16, its vectors, and its convolutions as every kind of processor computes them.
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include "op_cases.hpp"
#include "ulna/backend/tbb/pair_convolution.hpp"
#include "ulna/backend/tbb/pair_weight_gradient.hpp"

using namespace ulna;
using namespace ulna::conformance;

namespace {

const tbb::global_control four_threads(tbb::global_control::max_allowed_parallelism, 4);

static_assert(std::is_trivially_copyable_v<bf16> && std::is_trivially_default_constructible_v<bf16>);
static_assert(bf16(1).bits() == 0x3F80 && bf16(-2.0).bits() == 0xC000 && bf16{}.bits() == 0);
// 8 significant bits: halfway between two neighbours the even one
static_assert(bf16(257).bits() == bf16(256).bits() && bf16(259).bits() == bf16(260).bits());
static_assert(bf16(257.01f).bits() == bf16(258).bits());
static_assert(!std::is_convertible_v<float, bf16> && std::is_convertible_v<bf16, float>);

bool is_nan(bf16 x) { return (x.bits() & 0x7FFF) > 0x7F80; }

/// Floats around every boundary that rounding knows.
std::vector<float> interesting() {
  std::vector<float> all;
  for (std::uint32_t upper = 0; upper < 0x10000; upper += 7)
    for (const std::uint32_t lower : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu})
      all.push_back(std::bit_cast<float>(upper << 16 | lower));
  for (const std::uint32_t u : {0x7F7FFFFFu, 0x7F800000u, 0x7F800001u, 0xFF80FFFFu, 0xFFFFFFFFu})
    all.push_back(std::bit_cast<float>(u));
  while (all.size() % 16 != 0) all.push_back(1.0f);
  return all;
}

template <int Width>
void check_vectors() {
  using V = Vec<float, Width>;
  const std::vector<float> x = interesting();
  std::vector<bf16> y(x.size());
  for (std::size_t i = 0; i < x.size(); i += Width) V::load(x.data() + i).store(y.data() + i);
  int different = 0;
  for (std::size_t i = 0; i < x.size(); ++i) different += y[i].bits() != bf16(x[i]).bits();
  CHECK(different == 0);
  for (std::size_t i = 0; i < x.size(); i += Width) {
    float back[Width];
    V::load(y.data() + i).store(back);
    for (std::size_t l = 0; l < Width; ++l)
      different += std::bit_cast<std::uint32_t>(back[l]) != std::uint32_t{y[i + l].bits()} << 16;
  }
  CHECK(different == 0);
}

/// The bf16 convolutions of one kind of processor; nothing else.
template <class Isa>
class Convolutions {
 public:
  using Element = bf16;
  using Master = float;

  explicit Convolutions(int threads) : arena_(std::make_shared<tbb::task_arena>(threads)) {}

  template <Op op>
  static constexpr Kernel<bf16> kernel(const Node&) {
    if constexpr (op == Op::convolution || op == Op::transposed_convolution)
      return &tbb_kernels::pair_convolution<Isa>;
    else if constexpr (op == Op::convolution_weight_gradient)
      return &tbb_kernels::pair_weight_gradient<Isa>;
    else
      return nullptr;
  }
  template <Op op>
  static std::size_t scratch_bytes(const Call<bf16>& call, int threads) {
    if constexpr (op == Op::convolution || op == Op::transposed_convolution)
      return tbb_kernels::pair_convolution_scratch_bytes<Isa>(call, threads);
    else if constexpr (op == Op::convolution_weight_gradient)
      return tbb_kernels::pair_weight_gradient_scratch_bytes<Isa>(call, threads);
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
  std::shared_ptr<tbb::task_arena> arena_;
};

/// Every convolution of the list of ops, forward and backward, as Isa computes it. Returns how many nodes ran.
template <class Isa>
int check_convolutions() {
  int ran = 0;
  for (const OpCase& op : ops)
    for (int variant = 0; variant < variants; ++variant) {
      if (std::string(op.name).find("convolution") == std::string::npos) continue;
      INFO("case " << std::string(op.name));
      CAPTURE(variant);
      Value y;
      const auto d = drawn(op, variant, y);
      const Value dy = append_dy(d->b, y);
      std::vector<Values> values = d->leaves<bf16>();
      const auto b = std::make_unique<Builder>(d->b);
      if (op.differentiable) append_gradient(*b, y, dy, d->images.front());
      evaluate<bf16>(b->graph, values, b->graph.nodes.size(), d->batch, true);
      for (int id = 0; id < b->graph.nodes.size(); ++id) {
        const Node& n = b->graph.nodes[id];
        if (n.op != Op::convolution && n.op != Op::transposed_convolution && n.op != Op::convolution_weight_gradient)
          continue;
        Conditions with{.batch = d->batch, .layout_seed = static_cast<std::uint64_t>(id) + 1};
        if (n.accumulate) with.prior.assign(size_of(n, d->batch), 0.25);
        check_node<Convolutions<Isa>>(b->graph, n, values, with);
        ++ran;
      }
    }
  return ran;
}

}  // namespace

TEST_CASE("every bf16 converts to float and back to itself, NaN to NaN") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 x = bf16::from_bits(static_cast<std::uint16_t>(bits));
    const bf16 back(static_cast<float>(x));
    wrong += is_nan(x) ? !is_nan(back) : back.bits() != x.bits();
  }
  CHECK(wrong == 0);
}

TEST_CASE("rounding to bf16 takes the nearest, ties the even one; what is too large is infinite") {
  int wrong = 0;
  for (const float x : interesting()) {
    const bf16 y(x);
    if (std::isnan(x)) {
      wrong += !is_nan(y);
      continue;
    }
    const auto u = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t below = u >> 16;  // the neighbour towards zero; the other is one more
    const std::uint32_t rest = u & 0xFFFFu;
    const bool up = rest > 0x8000u || (rest == 0x8000u && below % 2 == 1);
    wrong += y.bits() != below + (up ? 1 : 0);
  }
  CHECK(wrong == 0);
  CHECK(std::isinf(static_cast<float>(bf16(3.4e38f))));
}

TEST_CASE("vectors convert as the type does") {
  check_vectors<1>();
  check_vectors<2>();
  check_vectors<4>();
  check_vectors<8>();
  check_vectors<16>();
}

TEST_CASE("convolutions on processors without bf16 products") {
  CHECK(check_convolutions<Isa<64, true>>() > 300);
  CHECK(check_convolutions<Isa<32, true>>() > 300);
  CHECK(check_convolutions<Isa<16, false>>() > 300);
}

// The packing and the loops of AMX, on tiles in memory.
TEST_CASE("convolutions on tiles") { CHECK(check_convolutions<Isa<64, true, PairDot::emulated_tiles>>() > 300); }
