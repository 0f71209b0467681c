// SPDX-License-Identifier: MIT
// GFLOP/s of the Tbb backend's convolutions: forward, gradient by the input, gradient by the weight.
// Arguments: input channels, output channels, extent (of the smaller side), batch, threads. Every one is measured in
// float and in bf16, 3x3 convolutions of floats twice, direct and as Winograd; all count the multiplications of the
// direct algorithm.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ulna/backend/tbb/bias_gradient.hpp"
#include "ulna/backend/tbb/convolution.hpp"
#include "ulna/backend/tbb/pair_convolution.hpp"
#include "ulna/backend/tbb/pair_weight_gradient.hpp"
#include "ulna/backend/tbb/weight_gradient.hpp"
#include "ulna/backend/tbb/winograd.hpp"
#include "ulna/backend/tbb/winograd_weight_gradient.hpp"
#include "ulna/random.hpp"

namespace {

using namespace ulna;

template <class T>
struct Batch {
  Batch(Shape shape, int batch) : memory(static_cast<std::size_t>(shape.size() * batch) + 64 / sizeof(T)) {
    Random random(Seed{1});
    for (T& x : memory) x = static_cast<T>(random.uniform(-1.0f, 1.0f));
    const auto aligned = (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64 / sizeof(T);
    view = {memory.data() + aligned, shape, batch, shape.channels, static_cast<std::ptrdiff_t>(shape.size())};
  }
  std::vector<T> memory;
  Tensor<T> view;
};

enum class Pass { forward, input_gradient, weight_gradient, up, up_input_gradient, up_weight_gradient };

enum class How { direct, winograd, bf16 };

/// The kernels of one way to compute.
template <class T>
struct Kernels {
  Kernel<T> convolution, weight_gradient;
  std::size_t (*convolution_bytes)(const Call<T>&, int);
  std::size_t (*weight_gradient_bytes)(const Call<T>&, int);
};
constexpr Kernels<float> direct{&tbb_kernels::convolution<NativeIsa>,
                                &tbb_kernels::convolution_weight_gradient<NativeIsa>,
                                &tbb_kernels::convolution_scratch_bytes<NativeIsa>,
                                &tbb_kernels::convolution_weight_gradient_scratch_bytes<NativeIsa>};
constexpr Kernels<float> as_winograd{&winograd::convolution<NativeIsa>, &winograd::weight_gradient<NativeIsa>,
                                     &winograd::convolution_scratch_bytes<NativeIsa>,
                                     &winograd::weight_gradient_scratch_bytes<NativeIsa>};
constexpr Kernels<bf16> in_pairs{&tbb_kernels::pair_convolution<NativeIsa>,
                                 &tbb_kernels::pair_weight_gradient<NativeIsa>,
                                 &tbb_kernels::pair_convolution_scratch_bytes<NativeIsa>,
                                 &tbb_kernels::pair_weight_gradient_scratch_bytes<NativeIsa>};

template <class T>
void measure(benchmark::State& state, const Window& window, Pass pass, const Kernels<T>& kernels) {
  const int in = static_cast<int>(state.range(0));
  const int out = static_cast<int>(state.range(1));
  const int extent = static_cast<int>(state.range(2));
  const int batch = static_cast<int>(state.range(3));
  const int threads = static_cast<int>(state.range(4));
  const bool up = pass >= Pass::up;  // then x is the smaller side
  const int large = up ? extent * window.stride.height : extent;
  Batch<T> x({in, 1, extent, extent}, batch);
  Batch<T> y({out, 1, large, large}, batch);
  Batch<float> weight({out, 1, window.taps(), in}, 1);
  const Tensor<T> w = held_as<T>(weight.view);
  Node node{};
  node.window = window;
  Call<T> call;
  call.node = &node;
  call.batch = batch;
  auto kernel = kernels.convolution;
  auto scratch_bytes = kernels.convolution_bytes;
  switch (pass) {
    case Pass::forward:
    case Pass::up:
      node.op = up ? Op::transposed_convolution : Op::convolution;
      call.input = {x.view, w};
      call.output = y.view;
      break;
    case Pass::input_gradient:
    case Pass::up_input_gradient:
      node.op = up ? Op::convolution : Op::transposed_convolution;
      node.swap_channels = true;
      call.input = {y.view, w};
      call.output = x.view;
      break;
    case Pass::weight_gradient:
    case Pass::up_weight_gradient:
      node.op = Op::convolution_weight_gradient;
      node.swap_channels = up;
      kernel = kernels.weight_gradient;
      scratch_bytes = kernels.weight_gradient_bytes;
      call.input = {up ? y.view : x.view, up ? x.view : y.view};
      call.output = w;
  }
  node.shape = call.output.shape;
  std::vector<std::byte> scratch(scratch_bytes(call, threads) + 64);
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  call.scratch = std::span(scratch).subspan((64 - address % 64) % 64);
  tbb::task_arena arena(threads);
  arena.execute([&] { kernel(call); });
  for (auto _ : state) {
    arena.execute([&] { kernel(call); });
    benchmark::DoNotOptimize(call.output.data);
    benchmark::ClobberMemory();
  }
  const double flops = 2.0 * window.taps() * in * out * static_cast<double>(extent) * extent * batch;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

/// {input channels, output channels, extent, batch}
struct Layer {
  int in, out, extent, batch;
};

void list_one(const std::string& name, const Window& window, Pass pass, const std::vector<Layer>& layers, How how) {
  auto* b = benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    how == How::bf16       ? measure(state, window, pass, in_pairs)
    : how == How::winograd ? measure(state, window, pass, as_winograd)
                           : measure(state, window, pass, direct);
  });
  b->ArgNames({"in", "out", "extent", "batch", "threads"})->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const Layer& l : layers)
    for (const int threads : {1, 2}) b->Args({l.in, l.out, l.extent, l.batch, threads});
}

void list(const std::string& name, const Window& window, Pass pass, const std::vector<Layer>& layers) {
  list_one(name + "/direct", window, pass, layers, How::direct);
  if (window.kernel == Extent{1, 3, 3} && layers.front().in >= 16)
    list_one(name + "/winograd", window, pass, layers, How::winograd);
  list_one(name + "/bf16", window, pass, layers, How::bf16);
}

[[maybe_unused]] const bool registered = [] {
  const Window same = window2d(3, 1, 1);
  const std::vector<Layer> first{{1, 64, 512, 1}, {1, 16, 128, 8}};
  const std::vector<Layer> levels{{64, 64, 512, 1},    {128, 128, 256, 1}, {256, 256, 128, 1}, {512, 512, 64, 1},
                                  {1024, 1024, 32, 1}, {16, 16, 128, 8},   {32, 16, 128, 8},   {32, 32, 64, 8},
                                  {64, 64, 32, 8},     {128, 128, 16, 8},  {256, 256, 8, 8}};
  const std::vector<Layer> head{{16, 2, 128, 8}, {64, 2, 512, 1}};
  const std::vector<Layer> ups{{32, 16, 64, 8}, {256, 128, 8, 8}, {128, 64, 256, 1}, {1024, 512, 32, 1}};
  list("3x3/first/forward", same, Pass::forward, first);
  list("3x3/first/weight_gradient", same, Pass::weight_gradient, first);
  list("3x3/forward", same, Pass::forward, levels);
  list("3x3/input_gradient", same, Pass::input_gradient, levels);
  list("3x3/weight_gradient", same, Pass::weight_gradient, levels);
  list("1x1/forward", window2d(1), Pass::forward, head);
  list("1x1/input_gradient", window2d(1), Pass::input_gradient, head);
  list("1x1/weight_gradient", window2d(1), Pass::weight_gradient, head);
  list("2x2up/forward", window2d(2, 2), Pass::up, ups);
  list("2x2up/input_gradient", window2d(2, 2), Pass::up_input_gradient, ups);
  list("2x2up/weight_gradient", window2d(2, 2), Pass::up_weight_gradient, ups);
  return true;
}();

}  // namespace
