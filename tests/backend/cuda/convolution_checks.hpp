// SPDX-License-Identifier: MIT
// Random cases of the convolution family on the emulated blocks, compared with the reference in double.
//
// Operands are small multiples of 1/8, so every product and every sum is exact in float: what differs by more than the
// rounding of the output is wrong.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "box_emulator.hpp"
#include "ulna/backend/cuda/convolution.hpp"
#include "ulna/backend/cuda/convolution_weight_gradient.hpp"
#include "ulna/backend/cuda/winograd.hpp"
#include "ulna/backend/eigen/convolution.hpp"
#include "ulna/random.hpp"

namespace ulna::cuda {

/// A tensor in memory of its own between elements that nobody may write, as a slice of a wider one.
template <class T>
class SlicedTensor {
 public:
  SlicedTensor() = default;
  /// `channels_before` and `channels_after` of the wider tensor lie around each pixel.
  SlicedTensor(Shape shape, int batch, int before, int after) : shape_(shape), batch_(batch) {
    stride_ = before + shape.channels + after;
    first_ = guard + static_cast<std::size_t>(before);
    const auto size = static_cast<std::size_t>(batch * shape.pixels() * stride_) + 2 * guard;
    memory_.assign(size + 64, T{-123.0f});
    shift_ = 0;
    while (reinterpret_cast<std::uintptr_t>(memory_.data() + shift_) % 64 != 0) ++shift_;
  }

  Tensor<T> view() {
    return {memory_.data() + shift_ + first_, shape_, batch_, static_cast<std::ptrdiff_t>(stride_),
            static_cast<std::ptrdiff_t>(shape_.pixels() * stride_)};
  }
  template <class F>
  void each(const F& f) {
    const Tensor<T> v = view();
    for (std::int64_t q = 0; q < batch_ * shape_.pixels(); ++q)
      for (int c = 0; c < shape_.channels; ++c) f(v.data[q * stride_ + c]);
  }
  std::vector<double> values() {
    std::vector<double> all;
    each([&](T& x) { all.push_back(static_cast<double>(static_cast<float>(x))); });
    return all;
  }
  bool surroundings_kept() {
    each([](T& x) { x = T{-123.0f}; });
    return std::all_of(memory_.begin(), memory_.end(), [](T x) { return static_cast<float>(x) == -123.0f; });
  }

 private:
  static constexpr std::size_t guard = 64;
  Shape shape_{};
  int batch_ = 0;
  std::ptrdiff_t stride_ = 0;
  std::size_t first_ = 0, shift_ = 0;
  std::vector<T> memory_;
};

/// One node of the family.
struct ConvolutionCase {
  Op op = Op::convolution;
  Window window = window2d(3, 1, 1);
  int batch = 1;
  int in = 8, out = 8;  ///< channels of the input (weight gradient: of the large and the small image)
  Extent small{1, 4, 4}, large{1, 4, 4};
  bool swapped = false, biased = false, accumulate = false;
  bool packed_before = false;  ///< the weight, as predictions do
  Activation activation = Activation::none;
  int before = 0, after = 0;  ///< channels around each operand
  bool winograd = false;      ///< of floats: however large it is
  int band = 0;               ///< tiles at a time; 0: as the plan says
  ResidualSum residual = ResidualSum::none;
  bool in_place = false;  ///< the output takes over the residual's memory
  bool pooled = false;    ///< with a 2x2 max pool of the output

  std::string text() const {
    const auto of = [](const Extent& e) {
      return std::to_string(e.depth) + "x" + std::to_string(e.height) + "x" + std::to_string(e.width);
    };
    return "op " + std::to_string(static_cast<int>(op)) + " kernel " + of(window.kernel) + " stride " +
           of(window.stride) + " dilation " + of(window.dilation) + " pad " + of(window.pad_before) + " " +
           of(window.pad_after) + " batch " + std::to_string(batch) + " channels " + std::to_string(in) + " " +
           std::to_string(out) + " small " + of(small) + " large " + of(large) + " swapped " + std::to_string(swapped) +
           " activation " + std::to_string(static_cast<int>(activation)) + " around " + std::to_string(before) + " " +
           std::to_string(after) + " residual " + std::to_string(static_cast<int>(residual)) +
           (in_place ? " in place" : "") + (pooled ? " pooled" : "");
  }
};

/// Small multiples of 1/8.
inline double coarse(Random& r) { return (r.below(17) - 8) / 8.0; }

/// The same memory, seen as the call lists it.
template <class T>
Tensor<T> listed_as(const Tensor<float>& x) {
  return {reinterpret_cast<T*>(x.data), x.shape, x.batch, x.pixel_stride, x.sample_stride};
}

/// What of a Hopper the emulated device has.
enum class Hopper : std::uint8_t { none, warpgroups, boxes };

struct CaseResult {
  std::vector<double> found, expected;
  std::vector<double> added;  ///< the residual, or nothing
};

/// The largest of each 2x2 window of x, for the pixels of y.
template <class T>
std::vector<double> pooled_values(const Tensor<T>& x, const Tensor<T>& y) {
  std::vector<double> all;
  for (int n = 0; n < y.batch; ++n)
    for (int p = 0; p < y.pixels(); ++p)
      for (int c = 0; c < y.shape.channels; ++c) {
        const Extent at = eigen::position_of(p, y.shape.extent());
        double largest = -1e30;
        for (int tap = 0; tap < 4; ++tap) {
          const Extent q{at.depth, 2 * at.height + tap / 2, 2 * at.width + tap % 2};
          const T v = x.pixel(n, eigen::index_of(q, x.shape.extent()))[c];
          largest = std::max(largest, static_cast<double>(static_cast<float>(v)));
        }
        all.push_back(largest);
      }
  return all;
}

/// The case on blocks that are emulated, and in double. Draw: the value of an operand.
template <Arithmetic A, class Draw>
CaseResult run_case(const ConvolutionCase& c, Timing timing, const Draw& draw, Hopper hopper = Hopper::none) {
  using T = typename OperandOf<A>::type;
  Random random(Seed{1});
  const bool gradient = c.op == Op::convolution_weight_gradient;
  const bool transposed = c.op == Op::transposed_convolution;
  Node node{.op = c.op, .accumulate = c.accumulate, .swap_channels = c.swapped, .activation = c.activation};
  node.slope = 0.25f;
  node.window = c.window;
  node.residual = c.residual;
  const Shape weight{gradient && c.swapped ? c.in : c.out, 1, c.window.taps(), gradient && c.swapped ? c.out : c.in};
  SlicedTensor<T> x(shape_of(c.in, transposed ? c.small : c.large), c.batch, c.before, c.after);
  SlicedTensor<T> y(shape_of(c.out, transposed ? c.large : c.small), c.batch, c.before, c.after);
  SlicedTensor<float> w(weight, 1, 0, 0);
  SlicedTensor<float> bias({c.out}, 1, 0, 0);
  x.each([&](T& v) { v = T(draw(random)); });
  w.each([&](float& v) { v = gradient ? 0.5f : static_cast<float>(T(draw(random))); });
  bias.each([&](float& v) { v = static_cast<float>(coarse(random)); });
  y.each([&](T& v) { v = gradient ? T(draw(random)) : T(7.0); });
  SlicedTensor<T> residual(y.view().shape, c.batch, c.in_place ? c.before : c.after, c.in_place ? c.after : c.before);
  if (c.residual != ResidualSum::none) residual.each([&](T& v) { v = T(draw(random)); });
  node.shape = gradient ? weight : y.view().shape;

  Call<double> reference;
  SlicedTensor<double> rx(x.view().shape, c.batch, 0, 0), ry(y.view().shape, c.batch, 0, 0), rw(weight, 1, 0, 0),
      rb({c.out}, 1, 0, 0), rr(y.view().shape, c.batch, 0, 0);
  const auto fill = [](auto& to, std::vector<double> from) {
    std::size_t i = 0;
    const auto v = to.view();
    for (std::int64_t q = 0; q < v.batch * v.shape.size(); ++q) v.data[q] = from[i++];
  };
  fill(rx, x.values());
  fill(ry, y.values());
  fill(rw, w.values());
  fill(rb, bias.values());
  fill(rr, residual.values());
  Call<T> call;
  call.node = reference.node = &node;
  call.batch = reference.batch = c.batch;
  call.input[0] = x.view();
  reference.input[0] = rx.view();
  call.output = gradient ? listed_as<T>(w.view()) : y.view();
  reference.output = gradient ? rw.view() : ry.view();
  call.input[1] = gradient ? y.view() : listed_as<T>(w.view());
  reference.input[1] = gradient ? ry.view() : rw.view();
  if (c.biased && !gradient) {
    call.input[2] = listed_as<T>(bias.view());
    reference.input[2] = rb.view();
  }
  CaseResult result;
  if (c.residual != ResidualSum::none) {
    result.added = residual.values();
    call.input[residual_input] = residual.view();
    reference.input[residual_input] = rr.view();
    if (c.in_place) call.output = residual.view();
  }
  SlicedTensor<T>& written = c.in_place ? residual : y;
  Node pool_node{.op = Op::max_pool};
  pool_node.window = window2d(2, 2);
  SlicedTensor<T> pooled;
  Call<T> pool;
  if (c.pooled) {
    pooled = SlicedTensor<T>(shape_of(c.out, window_output(c.small, pool_node.window)), c.batch, c.after, c.before);
    pool_node.shape = pooled.view().shape;
    pool.node = &pool_node;
    pool.batch = c.batch;
    pool.input[0] = call.output;
    pool.output = pooled.view();
    call.pool = &pool;
  }
  std::size_t bytes =
      gradient ? convolution_weight_gradient_scratch_bytes<A>(call) : convolution_scratch_bytes<A>(call);
  if constexpr (A == Arithmetic::exact)
    if (c.winograd) bytes = bytes_for<WinogradBuffers>(call);
  std::vector<double> scratch(bytes / 8 + 64, std::nan(""));
  auto* first = reinterpret_cast<std::byte*>(scratch.data());
  while (reinterpret_cast<std::uintptr_t>(first) % 64 != 0) first += 8;
  call.scratch = {first, bytes};
  std::vector<double> reference_scratch((gradient ? eigen::bytes_for<eigen::WeightGradientBuffers>(reference)
                                                  : eigen::bytes_for<eigen::ProductBuffers>(reference)) /
                                            8 +
                                        8);
  reference.scratch = {reinterpret_cast<std::byte*>(reference_scratch.data()), reference_scratch.size() * 8};

  EmulatedExecution on;
  on.timing = timing;
  on.backwards = timing.backwards;
  on.warpgroups = hopper != Hopper::none;
  on.boxes = hopper == Hopper::boxes;
  std::vector<double> packed;
  if (c.packed_before) {
    const WinogradSize size{c.in, c.out};
    const std::size_t packed_bytes =
        c.winograd ? static_cast<std::size_t>(size.weight()) * 4 : packed_weight_bytes<A>(on, call, true);
    packed.assign(packed_bytes / 8 + 8, std::nan(""));
    auto* to = reinterpret_cast<std::byte*>(packed.data());
    while (reinterpret_cast<std::uintptr_t>(to) % 16 != 0) to += 8;
    if constexpr (A == Arithmetic::exact) {
      if (c.winograd)
        detail::transform_weight(on, call, reinterpret_cast<float*>(to));
      else
        pack_weight<A>(on, call, to);
    } else {
      pack_weight<A>(on, call, to);
    }
    on.packed = to;
    w.each([](float& v) { v = std::nanf(""); });  // nobody reads it again
  }
  if (gradient) {
    convolution_weight_gradient<A>(on, call);
    eigen::convolution_weight_gradient(reference);
  } else {
    if constexpr (A == Arithmetic::exact)
      c.winograd ? winograd_convolution(on, call, c.band) : convolution<A>(on, call);
    else
      convolution<A>(on, call);
    transposed ? eigen::transposed_convolution(reference) : eigen::convolution(reference);
  }
  result.found = gradient ? w.values() : written.values();
  SlicedTensor<double>& to = gradient ? rw : ry;
  const Tensor<double> v = to.view();
  result.expected.assign(v.data, v.data + v.batch * v.shape.size());
  if (c.pooled) {
    CHECK(pooled.values() == pooled_values(written.view(), pool.output));
    CHECK(pooled.surroundings_kept());
  }
  CHECK((gradient ? w.surroundings_kept() : written.surroundings_kept()));
  return result;
}

/// The largest difference, of the largest value.
inline double difference(const CaseResult& r) {
  double worst = 0, largest = 1e-30;
  for (const double e : r.expected) largest = std::max(largest, std::abs(e));
  for (std::size_t i = 0; i < r.expected.size(); ++i) {
    const double d = std::abs(r.found[i] - r.expected[i]);
    worst = std::isnan(d) ? 1e30 : std::max(worst, d);
  }
  return worst / largest;
}

/// Exact but for the output's rounding (and the exponential function's).
template <Arithmetic A>
void check_case(const ConvolutionCase& c, Timing timing = {}, Hopper hopper = Hopper::none) {
  INFO(c.text());
  const CaseResult r = run_case<A>(c, timing, coarse, hopper);
  const bool rounded = A == Arithmetic::bf16 && c.op != Op::convolution_weight_gradient;
  const bool smooth = c.activation == Activation::sigmoid || c.activation == Activation::gelu;
  if (!smooth && !rounded) {
    CHECK(difference(r) == 0.0);
    return;
  }
  int wrong = 0;
  for (std::size_t i = 0; i < r.expected.size(); ++i) {  // sums are rounded before a residual is added
    const double size = std::abs(r.expected[i]) + (r.added.empty() ? 0.0 : std::abs(r.added[i]));
    wrong += !(std::abs(r.found[i] - r.expected[i]) <= (rounded ? 0.004 : 2e-6) * size + 1e-6);
  }
  CHECK(wrong == 0);
}

/// A random window with extents that it joins, and operands that are no multiples of anything.
inline ConvolutionCase random_case(Random& r, Op op, int vector) {
  const auto pick = [&](int low, int high) { return low + r.below(high - low + 1); };
  const auto channels = [&] {
    constexpr int odd[] = {1, 2, 3, 5, 7, 9, 17, 33, 35, 40, 66, 70};
    return r.chance(0.5f) ? odd[r.below(12)] : vector * pick(1, 80 / vector);
  };
  ConvolutionCase c;
  c.op = op;
  Window& w = c.window;
  const bool deep = r.chance(0.25f);
  w.kernel = {deep ? pick(1, 3) : 1, pick(1, 4), pick(1, 4)};
  if (r.chance(0.15f)) w.kernel = {1, 7, 7};
  w.stride = {deep ? pick(1, 2) : 1, r.chance(0.5f) ? 1 : pick(1, 4), r.chance(0.5f) ? 1 : pick(1, 3)};
  w.dilation = {deep ? pick(1, 2) : 1, r.chance(0.6f) ? 1 : pick(2, 3), r.chance(0.6f) ? 1 : pick(2, 3)};
  w.pad_before = {deep ? pick(0, 1) : 0, pick(0, 3), pick(0, 3)};
  w.pad_after = {deep ? pick(0, 1) : 0, pick(0, 3), pick(0, 3)};
  c.large = {deep ? pick(1, 3) : 1, pick(1, 11), pick(1, 11)};
  c.large.depth = std::max(c.large.depth, span_of(w.kernel.depth, w.dilation.depth));
  c.large.height = std::max(c.large.height, span_of(w.kernel.height, w.dilation.height));
  c.large.width = std::max(c.large.width, span_of(w.kernel.width, w.dilation.width));
  c.small = window_output(c.large, w);
  c.batch = pick(1, 3);
  c.in = channels();
  c.out = channels();
  c.swapped = r.chance(0.5f);
  c.biased = r.chance(0.5f);
  c.accumulate = op == Op::convolution_weight_gradient && r.chance(0.5f);
  if (op != Op::convolution_weight_gradient) c.activation = static_cast<Activation>(r.below(5));
  if (r.chance(0.4f)) {
    c.before = r.chance(0.5f) ? vector : r.below(6);
    c.after = r.chance(0.5f) ? vector : r.below(6);
  }
  if (op == Op::convolution && r.chance(0.5f)) {
    c.residual = r.chance(0.5f) ? ResidualSum::before_activation : ResidualSum::after_activation;
    c.in_place = r.chance(0.5f);
  }
  c.pooled = op == Op::convolution && c.small.height > 1 && c.small.width > 1 && r.chance(0.4f);
  return c;
}

}  // namespace ulna::cuda
