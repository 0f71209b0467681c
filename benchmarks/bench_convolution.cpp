// SPDX-License-Identifier: MIT
// GFLOP/s of the Tbb backend's convolutions: forward, gradient by the input, gradient by the weight.
// Arguments: input channels, output channels, extent (of the smaller side), batch, threads. 3x3 convolutions are
// measured twice, direct and as Winograd; both count the multiplications of the direct algorithm.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ulna/backend/tbb/bias_gradient.hpp"
#include "ulna/backend/tbb/convolution.hpp"
#include "ulna/backend/tbb/weight_gradient.hpp"
#include "ulna/backend/tbb/winograd.hpp"
#include "ulna/backend/tbb/winograd_weight_gradient.hpp"
#include "ulna/random.hpp"

namespace {

using namespace ulna;

struct Batch {
  Batch(Shape shape, int batch) : memory(static_cast<std::size_t>(shape.size() * batch) + 16) {
    Random random(Seed{1});
    for (float& x : memory) x = random.uniform(-1.0f, 1.0f);
    const auto aligned = (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64 / sizeof(float);
    view = {memory.data() + aligned, shape, batch, shape.channels, static_cast<std::ptrdiff_t>(shape.size())};
  }
  std::vector<float> memory;
  Tensor<float> view;
};

enum class Pass { forward, input_gradient, weight_gradient, up, up_input_gradient, up_weight_gradient };

void measure(benchmark::State& state, const Window& window, Pass pass, bool as_winograd) {
  const int in = static_cast<int>(state.range(0));
  const int out = static_cast<int>(state.range(1));
  const int extent = static_cast<int>(state.range(2));
  const int batch = static_cast<int>(state.range(3));
  const int threads = static_cast<int>(state.range(4));
  const bool up = pass >= Pass::up;  // then x is the smaller side
  const int large = up ? extent * window.stride.height : extent;
  Batch x({in, 1, extent, extent}, batch);
  Batch y({out, 1, large, large}, batch);
  Batch w({out, 1, window.taps(), in}, 1);
  Node node{};
  node.window = window;
  Call<float> call;
  call.node = &node;
  call.batch = batch;
  auto kernel = as_winograd ? &winograd::convolution<NativeIsa> : &tbb_kernels::convolution<NativeIsa>;
  auto scratch_bytes = as_winograd ? &winograd::convolution_scratch_bytes<NativeIsa>
                                   : &tbb_kernels::convolution_scratch_bytes<NativeIsa>;
  switch (pass) {
    case Pass::forward:
    case Pass::up:
      node.op = up ? Op::transposed_convolution : Op::convolution;
      call.input = {x.view, w.view};
      call.output = y.view;
      break;
    case Pass::input_gradient:
    case Pass::up_input_gradient:
      node.op = up ? Op::convolution : Op::transposed_convolution;
      node.swap_channels = true;
      call.input = {y.view, w.view};
      call.output = x.view;
      break;
    case Pass::weight_gradient:
    case Pass::up_weight_gradient:
      node.op = Op::convolution_weight_gradient;
      node.swap_channels = up;
      kernel =
          as_winograd ? &winograd::weight_gradient<NativeIsa> : &tbb_kernels::convolution_weight_gradient<NativeIsa>;
      scratch_bytes = as_winograd ? &winograd::weight_gradient_scratch_bytes<NativeIsa>
                                  : &tbb_kernels::convolution_weight_gradient_scratch_bytes<NativeIsa>;
      call.input = {up ? y.view : x.view, up ? x.view : y.view};
      call.output = w.view;
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

void list(const std::string& name, const Window& window, Pass pass, const std::vector<Layer>& layers,
          bool as_winograd = false) {
  auto* b = benchmark::RegisterBenchmark(name.c_str(),
                                         [=](benchmark::State& state) { measure(state, window, pass, as_winograd); });
  b->ArgNames({"in", "out", "extent", "batch", "threads"})->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const Layer& l : layers)
    for (const int threads : {1, 2}) b->Args({l.in, l.out, l.extent, l.batch, threads});
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
  for (const bool as_winograd : {false, true}) {
    const std::string how = as_winograd ? "winograd" : "direct";
    list("3x3/forward/" + how, same, Pass::forward, levels, as_winograd);
    list("3x3/input_gradient/" + how, same, Pass::input_gradient, levels, as_winograd);
    list("3x3/weight_gradient/" + how, same, Pass::weight_gradient, levels, as_winograd);
  }
  list("1x1/forward", window2d(1), Pass::forward, head);
  list("1x1/input_gradient", window2d(1), Pass::input_gradient, head);
  list("1x1/weight_gradient", window2d(1), Pass::weight_gradient, head);
  list("2x2up/forward", window2d(2, 2), Pass::up, ups);
  list("2x2up/input_gradient", window2d(2, 2), Pass::up_input_gradient, ups);
  list("2x2up/weight_gradient", window2d(2, 2), Pass::up_weight_gradient, ups);
  return true;
}();

}  // namespace
