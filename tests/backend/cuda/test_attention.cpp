// SPDX-License-Identifier: MIT
// Attention of the CUDA backend on tensor cores, blocks and matrix instructions emulated, against the reference in
// double.
#include "bank_conflicts.hpp"
#include "convolution_checks.hpp"
#include "ulna/backend/cuda/attention.hpp"
#include "ulna/backend/eigen/attention.hpp"

using namespace ulna;
using namespace ulna::cuda;

namespace {

struct HeadCase {
  int batch = 1, height = 4, width = 4;
  int heads = 1, size = 8;
  int around = 0;  ///< channels before and after each operand's
};

/// Attention that needs anything but products of tiles has not been done on tensor cores.
struct ProductsAlone : EmulatedExecution {
  template <class Body>
  void blocks(const char*, std::int64_t, int, std::size_t, const Body&) const {
    FAIL_CHECK("not by products");
  }
};

/// A call of T and the same in double.
template <class T>
class TwoCalls {
 public:
  Call<T> call;
  Call<double> reference;

  TwoCalls(Node& node, Shape output, int batch, int around)
      : to_(output, batch, around, around), reference_to_(output, batch, 0, 0) {
    node.shape = output;
    call.node = reference.node = &node;
    call.batch = reference.batch = batch;
    call.output = to_.view();
    reference.output = reference_to_.view();
  }
  void add(SlicedTensor<T>& x) {
    const Tensor<T> v = x.view();
    call.input[inputs_] = v;
    inputs_double_.emplace_back(v.shape, v.batch, 0, 0);
    std::size_t i = 0;
    const std::vector<double> values = x.values();
    inputs_double_.back().each([&](double& to) { to = values[i++]; });
    reference.input[inputs_++] = inputs_double_.back().view();
  }
  void take_scratch(std::size_t bytes, std::size_t reference_bytes) {
    for (std::vector<double>* s : {&scratch_, &reference_scratch_}) s->assign(8, std::nan(""));
    scratch_.resize(bytes / 8 + 16, std::nan(""));
    reference_scratch_.resize(reference_bytes / 8 + 16);
    auto* first = reinterpret_cast<std::byte*>(scratch_.data());
    while (reinterpret_cast<std::uintptr_t>(first) % 64 != 0) first += 8;
    call.scratch = {first, bytes};
    reference.scratch = {reinterpret_cast<std::byte*>(reference_scratch_.data()), reference_scratch_.size() * 8};
  }
  /// The largest difference of channels [begin, end), of the largest value of the reference.
  double difference(int begin, int end) {
    double worst = 0.0, largest = 1e-30;
    const Tensor<double> expected = reference_to_.view();
    for (int n = 0; n < expected.batch; ++n)
      for (std::ptrdiff_t p = 0; p < expected.pixels(); ++p)
        for (int c = begin; c < end; ++c) {
          const double e = expected.pixel(n, p)[c];
          const double d = std::abs(static_cast<double>(static_cast<float>(call.output.pixel(n, p)[c])) - e);
          worst = std::isnan(d) ? 1e30 : std::max(worst, d);
          largest = std::max(largest, std::abs(e));
        }
    return worst / largest;
  }
  bool surroundings_kept() { return to_.surroundings_kept(); }

 private:
  SlicedTensor<T> to_;
  SlicedTensor<double> reference_to_;
  std::deque<SlicedTensor<double>> inputs_double_;
  std::size_t inputs_ = 0;
  std::vector<double> scratch_, reference_scratch_;
};

template <Arithmetic A>
void check_heads(const HeadCase& c, Timing timing, double tolerance) {
  using T = typename OperandOf<A>::type;
  INFO("batch " << c.batch << ", tokens " << c.height * c.width << ", heads " << c.heads << " of " << c.size);
  Random random(Seed{static_cast<std::uint64_t>(c.height * c.width + c.size)});
  const int channels = c.heads * c.size;
  const Shape shape{channels, 1, c.height, c.width};
  const auto draw = [&] {
    SlicedTensor<T> x(shape, c.batch, c.around, c.around);
    x.each([&](T& v) { v = T(1.5f * static_cast<float>(random.normal())); });
    return x;
  };
  SlicedTensor<T> q = draw(), k = draw(), v = draw(), dy = draw();
  ProductsAlone on;
  on.timing = timing;
  on.backwards = timing.backwards;

  Node node{.op = Op::attention};
  node.heads = c.heads;
  TwoCalls<T> forward(node, shape, c.batch, c.around);
  for (auto* x : {&q, &k, &v}) forward.add(*x);
  forward.take_scratch(0, eigen::bytes_for<eigen::AttentionBuffers>(forward.reference));
  cuda::attention<A>(on, forward.call);
  eigen::attention(forward.reference);
  CHECK(forward.difference(0, channels) <= tolerance);
  CHECK(forward.surroundings_kept());

  Node gradient{.op = Op::attention_gradient};
  gradient.heads = c.heads;
  TwoCalls<T> backward(gradient, {3 * channels, 1, c.height, c.width}, c.batch, c.around);
  for (auto* x : {&dy, &q, &k, &v}) backward.add(*x);
  backward.take_scratch(bytes_for<AttentionGradientBuffers>(backward.call),
                        eigen::bytes_for<eigen::AttentionBuffers>(backward.reference));
  cuda::attention_gradient<A>(on, backward.call);
  eigen::attention_gradient(backward.reference);
  for (int part = 0; part < 3; ++part) {
    CAPTURE(part);
    CHECK(backward.difference(part * channels, (part + 1) * channels) <= tolerance);
  }
  CHECK(backward.surroundings_kept());
}

constexpr HeadCase cases[] = {{.heads = 3, .size = 8},
                              {.height = 1, .width = 1, .heads = 2, .size = 24},
                              {.batch = 2, .height = 5, .width = 13, .heads = 2, .size = 32, .around = 8},
                              {.height = 8, .width = 8, .size = 64},
                              {.batch = 2, .height = 9, .width = 15, .heads = 2, .size = 48}};

template <class Tiling>
void check_fragments() {
  using P = HeadProduct<Tiling>;
  for (int warp = 0; warp < Tiling::threads; warp += warp_size) {
    for (int k = 0; k < Tiling::size; k += P::step) {
      CHECK(conflicts(warp, warp_size, 16, [&](int t) { return P::own_offset(t, k); }) == 1);
      for (int j = 0; j < P::token_blocks; j += 2)
        CHECK(conflicts(warp, warp_size, 16, [&](int t) { return P::across_offset(t, j, k); }) == 1);
    }
    for (int k = 0; k < Tiling::others; k += P::step)
      for (int j = 0; j < P::channel_blocks; ++j) {
        if constexpr (P::is_bf16)
          CHECK((j % 2 == 1 || conflicts(warp, warp_size, 16, [&](int t) { return P::along_offset(t, j, k); }) == 1));
        else
          for (int word = 0; word < 2; ++word)
            CHECK(conflicts(warp, warp_size, 4, [&](int t) { return P::along_word_offset(t, j, k, word); }) == 1);
      }
  }
  CHECK(Tiling::shared_bytes <= 99 * 1024);  // what a block may have on every device
}

}  // namespace

TEST_CASE("cuda attention, bf16: any number of tokens, heads of 8 to 64 channels, slices") {
  int i = 0;
  for (const HeadCase& c : cases) {
    check_heads<Arithmetic::bf16>(c, {.late_copies = i % 2 == 0, .backwards = i % 3 == 1}, 1e-2);
    ++i;
  }
}

TEST_CASE("cuda attention, tf32: any number of tokens, heads of 8 to 64 channels, slices") {
  int i = 0;
  for (const HeadCase& c : cases) {
    check_heads<Arithmetic::tf32>(c, {.late_copies = i % 2 == 1, .backwards = i % 3 == 1}, 2e-3);
    ++i;
  }
}

TEST_CASE("cuda attention: heads that are no whole chunks, or too large, do without tensor cores") {
  Node node{.op = Op::attention};
  const auto fits = [&](int channels, int heads, int around) {
    node.heads = heads;
    SlicedTensor<bf16> x({channels, 1, 2, 2}, 1, around, around);
    return cuda::detail::heads_in_chunks(node, {x.view()});
  };
  CHECK(fits(64, 1, 0));
  CHECK(fits(128, 2, 8));
  CHECK(!fits(128, 1, 0));  // larger than the largest tile
  CHECK(!fits(36, 3, 0));   // heads of 12 channels
  CHECK(!fits(64, 1, 4));   // between channels that are not aligned
}

TEST_CASE("cuda attention: fragments are read without bank conflicts") {
  check_fragments<HeadTiling<Arithmetic::bf16, 32, 2>>();
  check_fragments<HeadTiling<Arithmetic::bf16, 64, 2>>();
  check_fragments<HeadTiling<Arithmetic::tf32, 32, 2>>();
  check_fragments<HeadTiling<Arithmetic::tf32, 64, 2>>();
}
