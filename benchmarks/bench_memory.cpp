// SPDX-License-Identifier: MIT
// GB/s of the Tbb backend's kernels that memory bounds, counting each operand once. "add" is the yardstick.
#include "kernel_timing.hpp"
#include "ulna/backend/tbb/pointwise.hpp"
#include "ulna/backend/tbb/pool.hpp"
#include "ulna/backend/tbb/upsample.hpp"

namespace {

using namespace ulna;
using namespace ulna::benchmarks;

/// How many channels and which extent an operand has, given the map's.
struct Scale {
  bool one_channel = false;
  int factor = 1;  ///< of the extent
};

struct Kind {
  Op op;
  Kernel<float> kernel;
  Scale output;
  std::vector<Scale> inputs;
  Window window{};
  Activation activation = Activation::none;
  ScratchBytes scratch_bytes = nullptr;
};

/// Arguments: threads, batch, channels, extent.
void run(benchmark::State& state, const Kind& kind) {
  const int batch = static_cast<int>(state.range(1));
  const auto shape = [&](Scale s) {
    const int extent = static_cast<int>(state.range(3)) * s.factor;
    return Shape{s.one_channel ? 1 : static_cast<int>(state.range(2)), 1, extent, extent};
  };
  Batch output(shape(kind.output), batch);
  std::vector<Batch> inputs;
  double bytes = static_cast<double>(output.memory.size() * sizeof(float));
  for (const Scale& s : kind.inputs) {
    inputs.emplace_back(shape(s), batch);
    bytes += static_cast<double>(inputs.back().memory.size() * sizeof(float));
  }
  Node node{.op = kind.op, .shape = output.view.shape};
  node.window = kind.window;
  node.activation = kind.activation;
  Call<float> call{.node = &node, .batch = batch, .output = output.view};
  for (std::size_t i = 0; i < inputs.size(); ++i) call.input[i] = inputs[i].view;
  measure(state, call, kind.kernel, kind.scratch_bytes, "GB/s", bytes);
}

[[maybe_unused]] const bool registered = [] {
  using namespace tbb_kernels;
  using Isa = NativeIsa;
  constexpr Scale map, one{.one_channel = true}, twice{.factor = 2};
  const std::vector<Arguments> maps{{1, 64, 256}, {8, 16, 128}, {8, 768, 14}};
  const std::vector<Arguments> classes{{1, 4, 256}, {8, 2, 128}, {1, 21, 256}};
  const auto add_list = [](const char* name, const std::vector<Arguments>& cases, const Kind& kind) {
    list(name, {"batch", "channels", "extent"}, cases, [kind](benchmark::State& s) { run(s, kind); });
  };
  const Window half = window2d(2, 2);
  const auto up_bytes = [](const Call<float>& c, int) { return upsample_bilinear_bytes<Isa>(c); };
  const auto down_bytes = [](const Call<float>& c, int) { return upsample_bilinear_gradient_bytes<Isa>(c); };
  add_list("add", maps, {Op::add, add<Isa>, map, {map, map}});
  add_list("gelu", maps, {Op::activation, activation<Isa>, map, {map}, {}, Activation::gelu});
  add_list("gelu/gradient", maps,
           {Op::activation_gradient, activation_gradient<Isa>, map, {map, map}, {}, Activation::gelu});
  add_list("softmax", classes, {Op::softmax, softmax<Isa>, map, {map}});
  add_list("softmax/gradient", classes, {Op::softmax_gradient, softmax_gradient<Isa>, map, {map, map}});
  add_list("scale_pixels", maps, {Op::multiply, multiply<Isa>, map, {map, one}});
  add_list("channel_dot", maps, {Op::channel_dot, channel_dot<Isa>, one, {map, map}});
  add_list("max_pool", maps, {Op::max_pool, max_pool<Isa>, map, {twice}, half});
  add_list("max_pool/gradient", maps, {Op::max_pool_gradient, max_pool_gradient<Isa>, twice, {map, twice}, half});
  add_list("bilinear", maps, {Op::upsample_bilinear, upsample_bilinear<Isa>, twice, {map}, half, {}, up_bytes});
  add_list("bilinear/gradient", maps,
           {Op::upsample_bilinear_gradient, upsample_bilinear_gradient<Isa>, map, {twice}, half, {}, down_bytes});
  return true;
}();

}  // namespace
