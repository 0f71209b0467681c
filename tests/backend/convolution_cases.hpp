// SPDX-License-Identifier: MIT
// Operands for the convolution family of the Tbb backend, and what plain loops in double make of them.
#pragma once

#include <doctest/doctest.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "ulna/backend/tbb/bias_gradient.hpp"
#include "ulna/backend/tbb/convolution.hpp"
#include "ulna/backend/tbb/weight_gradient.hpp"
#include "ulna/random.hpp"

namespace ulna::convolution_cases {

using namespace ulna::tbb_kernels;

inline constexpr float canary = -12345.0f;

/// A batch in memory of its own, as a slice of `extra` more channels; the channels around it hold canaries.
struct Batch {
  Batch() = default;
  Batch(Shape shape, int batch, int extra, Random* random) {
    const int before = extra / 2;
    const std::ptrdiff_t stride = shape.channels + extra;
    memory.assign(static_cast<std::size_t>(shape.pixels() * stride * batch + 64), canary);
    view = {memory.data() + before, shape, batch, stride, stride * shape.pixels()};
    for_each([&](float& x) { x = random ? random->uniform(-1.0f, 1.0f) : 7.0f; });
  }
  Batch(Batch&&) = default;
  Batch& operator=(Batch&&) = default;

  template <class F>
  void for_each(const F& f) {
    for (int n = 0; n < view.batch; ++n)
      for (std::ptrdiff_t p = 0; p < view.pixels(); ++p)
        for (int c = 0; c < view.shape.channels; ++c) f(view.pixel(n, p)[c]);
  }
  std::vector<float> values() {
    std::vector<float> v;
    for_each([&](const float& x) { v.push_back(x); });
    return v;
  }
  bool canaries_live() {
    const auto dead = std::count_if(memory.begin(), memory.end(), [](float x) { return x != canary; });
    return dead == view.batch * view.shape.size();
  }

  std::vector<float> memory;
  Tensor<float> view;
};

struct Case {
  Node node;
  Batch x, w, bias, y;
  Batch residual{};
  const Call<float>* pool = nullptr;
  std::vector<std::byte> memory{};

  Call<float> call(int threads, std::size_t (*scratch_bytes)(const Call<float>&, int)) {
    Call<float> c;
    c.node = &node;
    c.batch = y.view.shape.channels > 0 ? std::max(x.view.batch, y.view.batch) : 0;
    c.input[0] = x.view;
    c.input[1] = w.view;
    c.input[2] = bias.view;
    c.input[residual_input] = residual.view;
    c.output = y.view;
    c.pool = pool;
    memory.assign(scratch_bytes(c, threads) + 64, std::byte{0xff});  // NaN, should any of it be read unwritten
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    c.scratch = std::span(memory).subspan((64 - address % 64) % 64);
    return c;
  }
};

inline void run(Case& c, int threads, void (*kernel)(const Call<float>&),
                std::size_t (*scratch_bytes)(const Call<float>&, int)) {
  const Call<float> call = c.call(threads, scratch_bytes);
  const tbb::global_control more_than_cores(tbb::global_control::max_allowed_parallelism,
                                            static_cast<std::size_t>(threads));
  tbb::task_arena arena(threads);
  arena.execute([&] { kernel(call); });
}

/// One way to compute the family. Its error may be 2e-6 of the sum of magnitudes of the same element, or where rounding
/// spreads over neighbours, 4e-6 of that of the largest element.
struct Kernels {
  void (*convolution)(const Call<float>&);
  std::size_t (*convolution_bytes)(const Call<float>&, int);
  void (*weight_gradient)(const Call<float>&);
  std::size_t (*weight_gradient_bytes)(const Call<float>&, int);
  bool spreads;
};
inline constexpr Kernels direct{&tbb_kernels::convolution<NativeIsa>,
                                &tbb_kernels::convolution_scratch_bytes<NativeIsa>,
                                &tbb_kernels::convolution_weight_gradient<NativeIsa>,
                                &tbb_kernels::convolution_weight_gradient_scratch_bytes<NativeIsa>, false};

inline void run_case(Case& c, const Kernels& k, int threads = 2) {
  if (c.node.op == Op::convolution_weight_gradient)
    run(c, threads, k.weight_gradient, k.weight_gradient_bytes);
  else
    run(c, threads, k.convolution, k.convolution_bytes);
}

inline double activate_in_double(double x, const Node& n) {
  switch (n.activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::leaky_relu:
      return x < 0 ? x * static_cast<double>(n.slope) : x;
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::gelu:
      return x * std::erfc(-x / std::sqrt(2.0)) / 2;
  }
  return x;
}

/// Calls f(tap, position in small, position in large) for every pair that the window joins.
template <class F>
void for_each_pair(const Window& w, const Shape& small, const Shape& large, const F& f) {
  for (int py = 0; py < small.height; ++py)
    for (int px = 0; px < small.width; ++px)
      for (int ky = 0; ky < w.kernel.height; ++ky)
        for (int kx = 0; kx < w.kernel.width; ++kx) {
          const int y = py * w.stride.height + ky * w.dilation.height - w.pad_before.height;
          const int x = px * w.stride.width + kx * w.dilation.width - w.pad_before.width;
          if (y < 0 || y >= large.height || x < 0 || x >= large.width) continue;
          f(ky * w.kernel.width + kx, py * small.width + px, y * large.width + x);
        }
}

/// Sums in double, and the sums of magnitudes that say how much rounding may be expected.
struct Reference {
  std::vector<double> sum, magnitude;
  explicit Reference(std::int64_t n) : sum(static_cast<std::size_t>(n)), magnitude(static_cast<std::size_t>(n)) {}
  void add(std::ptrdiff_t i, double term) {
    sum[static_cast<std::size_t>(i)] += term;
    magnitude[static_cast<std::size_t>(i)] += std::abs(term);
  }
};

inline Reference convolution_in_double(Case& c) {
  const Shape in = c.x.view.shape;
  const Shape out = c.y.view.shape;
  const bool transposed = c.node.op == Op::transposed_convolution;
  Reference r(out.size() * c.y.view.batch);
  for (int n = 0; n < c.y.view.batch; ++n) {
    for_each_pair(c.node.window, transposed ? in : out, transposed ? out : in, [&](int t, int small, int large) {
      const float* x = c.x.view.pixel(n, transposed ? small : large);
      const std::ptrdiff_t at = n * out.size() + (transposed ? large : small) * std::ptrdiff_t{out.channels};
      for (int i = 0; i < in.channels; ++i)
        for (int k = 0; k < out.channels; ++k) {
          const int w = c.node.swap_channels ? k * in.channels + i : i * out.channels + k;
          r.add(at + k, double{x[i]} * double{c.w.view.data[t * in.channels * out.channels + w]});
        }
    });
  }
  for (std::size_t i = 0; i < r.sum.size(); ++i) {
    const double b = c.bias.view ? double{c.bias.view.data[i % static_cast<std::size_t>(out.channels)]} : 0.0;
    r.sum[i] = activate_in_double(r.sum[i] + b, c.node);
    r.magnitude[i] += std::abs(b) + std::abs(r.sum[i]);
  }
  return r;
}

inline Reference weight_gradient_in_double(Case& c) {
  const Shape large = c.x.view.shape;
  const Shape small = c.w.view.shape;
  Reference r(c.y.view.shape.size());
  for (int n = 0; n < c.x.view.batch; ++n)
    for_each_pair(c.node.window, small, large, [&](int t, int at_small, int at_large) {
      const float* a = c.x.view.pixel(n, at_large);
      const float* b = c.w.view.pixel(n, at_small);
      for (int l = 0; l < large.channels; ++l)
        for (int s = 0; s < small.channels; ++s)
          r.add(t * large.channels * small.channels +
                    (c.node.swap_channels ? s * large.channels + l : l * small.channels + s),
                double{a[l]} * double{b[s]});
    });
  return r;
}

inline void check_close(const std::vector<float>& found, const Reference& expected, const std::string& what,
                        bool spreads = false) {
  REQUIRE(found.size() == expected.sum.size());
  const double largest = *std::max_element(expected.magnitude.begin(), expected.magnitude.end());
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double scale = spreads ? largest : expected.magnitude[i];
    const double error = std::abs(double{found[i]} - expected.sum[i]) / (scale + 1e-3);
    worst = std::isnan(error) ? 1e9 : std::max(worst, error);
  }
  INFO(what);
  CHECK(worst < (spreads ? 4e-6 : 2e-6));
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline std::string describe(const Case& c) {
  const auto shape = [](const Shape& s) {
    return std::to_string(s.channels) + "x" + std::to_string(s.height) + "x" + std::to_string(s.width);
  };
  const auto extent = [](const Extent& e) { return std::to_string(e.height) + "," + std::to_string(e.width); };
  const Window& w = c.node.window;
  return "x " + shape(c.x.view.shape) + " y " + shape(c.y.view.shape) + " kernel " + extent(w.kernel) + " stride " +
         extent(w.stride) + " dilation " + extent(w.dilation) + " pad " + extent(w.pad_before) + " and " +
         extent(w.pad_after) + (c.node.swap_channels ? " swapped" : "") + " batch " + std::to_string(c.x.view.batch);
}

inline Window random_window(Random& r) {
  const auto pick = [&](int low, int high) { return low + r.below(high - low + 1); };
  Window w;
  w.kernel = {1, pick(1, 4), pick(1, 4)};
  w.stride = {1, r.chance(0.5f) ? 1 : pick(1, 3), r.chance(0.5f) ? 1 : pick(1, 3)};
  w.dilation = {1, r.chance(0.6f) ? 1 : pick(2, 3), r.chance(0.6f) ? 1 : pick(2, 3)};
  w.pad_before = {0, pick(0, 3), pick(0, 3)};
  w.pad_after = {0, pick(0, 3), pick(0, 3)};
  return w;
}

inline int random_channels(Random& r) {
  constexpr int choice[] = {1, 2, 3, 5, 8, 9, 16, 17, 24, 31, 33, 48, 64, 70, 96};
  return choice[r.below(15)];
}

/// {small, large}: extents that the window joins. The larger side leaves no room for one more window.
inline std::pair<Extent, Extent> random_extents(const Window& w, Random& r, int most) {
  Extent large{1, 1 + r.below(most), 1 + r.below(most)};
  large.height = std::max(large.height, span_of(w.kernel.height, w.dilation.height));
  large.width = std::max(large.width, span_of(w.kernel.width, w.dilation.width));
  return {window_output(large, w), large};
}

/// Operands for a convolution (or its adjoint) whose larger side has `large` and smaller side `small` pixels.
inline Case make_convolution(Random& r, Op op, const Window& w, Extent small, Extent large, int in, int out,
                             int batch) {
  Case c;
  const bool transposed = op == Op::transposed_convolution;
  c.node.op = op;
  c.node.window = w;
  c.node.swap_channels = r.chance(0.5f);
  c.node.activation = static_cast<Activation>(r.below(5));
  c.node.slope = 0.1f;
  c.x = Batch(shape_of(in, transposed ? small : large), batch, r.chance(0.3f) ? 19 : 0, &r);
  c.y = Batch(shape_of(out, transposed ? large : small), batch, r.chance(0.3f) ? 5 : 0, nullptr);
  c.w = Batch({out, 1, w.taps(), in}, 1, 0, &r);
  if (r.chance(0.6f)) c.bias = Batch({out, 1, 1, 1}, 1, 0, &r);
  c.node.shape = c.y.view.shape;
  return c;
}

inline Case make_weight_gradient(Random& r, const Window& w, Extent small, Extent large, int in, int out, int batch) {
  Case c;
  c.node.op = Op::convolution_weight_gradient;
  c.node.window = w;
  c.node.swap_channels = r.chance(0.5f);
  c.x = Batch(shape_of(in, large), batch, r.chance(0.3f) ? 7 : 0, &r);
  c.w = Batch(shape_of(out, small), batch, r.chance(0.3f) ? 16 : 0, &r);
  c.y = Batch({c.node.swap_channels ? in : out, 1, w.taps(), c.node.swap_channels ? out : in}, 1, 0, nullptr);
  c.node.shape = c.y.view.shape;
  return c;
}

inline void check_convolution(Case c, const Kernels& kernels = direct) {
  run_case(c, kernels);
  check_close(c.y.values(), convolution_in_double(c), describe(c), kernels.spreads);
  CHECK(c.y.canaries_live());
}

/// With a residual, before and after the activation: the bits of the convolution, the sum and the activation one by
/// one, also where the output takes over the residual's memory.
inline void check_residual(Case c, Random& r, const Kernels& kernels = direct) {
  using V = FloatVec<NativeIsa>;
  const Node node = c.node;
  c.residual = Batch(c.y.view.shape, c.y.view.batch, r.below(6), &r);
  const std::vector<float> residual = c.residual.values();
  for (const ResidualSum order : {ResidualSum::before_activation, ResidualSum::after_activation}) {
    const bool last = order == ResidualSum::before_activation;
    const Activation activation = node.activation == Activation::gelu ? Activation::relu : node.activation;
    c.node.residual = ResidualSum::none;
    c.node.activation = last ? Activation::none : activation;
    run_case(c, kernels);
    std::vector<float> expected = c.y.values();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] += residual[i];
      if (last) expected[i] = activate(V::broadcast(expected[i]), activation, node.slope).v[0];
    }
    c.node.residual = order;
    c.node.activation = activation;
    INFO(describe(c));
    run_case(c, kernels);
    CHECK(c.y.values() == expected);
    const Tensor<float> apart = std::exchange(c.residual.view, c.y.view);
    std::size_t i = 0;
    c.y.for_each([&](float& y) { y = residual[i++]; });
    run_case(c, kernels);
    CHECK(c.y.values() == expected);
    c.residual.view = apart;
    CHECK(c.y.canaries_live());
  }
}

/// With a max pool of its output, 2x2: the bits of one after the other.
inline void check_pooled(Case c, const Kernels& kernels = direct) {
  INFO(describe(c));
  const Shape out = c.y.view.shape;
  Batch apart(shape_of(out.channels, {1, out.height / 2, out.width / 2}), c.y.view.batch, 3, nullptr);
  Batch together(apart.view.shape, c.y.view.batch, 7, nullptr);
  Node node{.op = Op::max_pool, .shape = apart.view.shape};
  node.window = window2d(2, 2);
  run_case(c, kernels);
  const std::vector<float> expected = c.y.values();
  Call<float> pool;
  pool.node = &node;
  pool.batch = c.y.view.batch;
  pool.input[0] = c.y.view;
  pool.output = apart.view;
  tbb_kernels::max_pool<NativeIsa>(pool);
  pool.output = together.view;
  c.pool = &pool;
  c.y.for_each([](float& y) { y = 9.0f; });
  run_case(c, kernels);
  CHECK(same_bits(c.y.values(), expected));
  CHECK(same_bits(together.values(), apart.values()));
  CHECK(c.y.canaries_live());
  CHECK(together.canaries_live());
}

inline void check_weight_gradient(Case c, const Kernels& kernels = direct) {
  run_case(c, kernels);
  const Reference expected = weight_gradient_in_double(c);
  check_close(c.y.values(), expected, describe(c), kernels.spreads);
  c.node.accumulate = true;
  c.y.for_each([](float& g) { g = 0.5f; });
  run_case(c, kernels);
  Reference more = expected;
  for (double& g : more.sum) g += 0.5;
  for (double& m : more.magnitude) m += 1.0;
  check_close(c.y.values(), more, "accumulated, " + describe(c), kernels.spreads);
  CHECK(c.y.canaries_live());
}

inline std::vector<float> bits_on(Case& c, int threads, const Kernels& kernels = direct) {
  c.y.for_each([](float& y) { y = -1.0f; });
  run_case(c, kernels, threads);
  return c.y.values();
}

}  // namespace ulna::convolution_cases
