// SPDX-License-Identifier: MIT
// The Tbb backend's kernels over tokens: attention, layer norm and the linear layers between them, forward and
// gradients. Tokens are the pixels of a square map.
#include "kernel_timing.hpp"
#include "ulna/backend/tbb/attention.hpp"
#include "ulna/backend/tbb/convolution.hpp"
#include "ulna/backend/tbb/layer_norm.hpp"
#include "ulna/backend/tbb/weight_gradient.hpp"

namespace {

using namespace ulna;
using namespace ulna::benchmarks;

/// Arguments: threads, batch, channels of a head, heads, extent.
void attention(benchmark::State& state, bool gradient) {
  const int batch = static_cast<int>(state.range(1));
  const int heads = static_cast<int>(state.range(3));
  const int channels = static_cast<int>(state.range(2)) * heads;
  const int extent = static_cast<int>(state.range(4));
  const Shape tokens{channels, 1, extent, extent};
  Batch q(tokens, batch), k(tokens, batch), v(tokens, batch), dy(tokens, batch);
  Batch y({gradient ? 3 * channels : channels, 1, extent, extent}, batch);
  Node node{.op = gradient ? Op::attention_gradient : Op::attention, .shape = y.view.shape};
  node.heads = heads;
  Call<float> call{.node = &node, .batch = batch, .output = y.view};
  if (gradient)
    call.input = {dy.view, q.view, k.view, v.view};
  else
    call.input = {q.view, k.view, v.view};
  const double product = 2.0 * static_cast<double>(tokens.size() * tokens.pixels()) * batch;
  if (gradient)
    measure(state, call, tbb_kernels::attention_gradient<NativeIsa>, tbb_kernels::attention_gradient_bytes<NativeIsa>,
            "GFLOP/s", 5 * product);
  else
    measure(state, call, tbb_kernels::attention<NativeIsa>, tbb_kernels::attention_bytes<NativeIsa>, "GFLOP/s",
            2 * product);
}

enum class Pass { forward, input_gradient, parameter_gradient };

/// Arguments: threads, batch, channels, extent. Counts what has to cross the memory bus at least.
void layer_norm(benchmark::State& state, Pass pass) {
  const int batch = static_cast<int>(state.range(1));
  const Shape tokens{static_cast<int>(state.range(2)), 1, static_cast<int>(state.range(3)),
                     static_cast<int>(state.range(3))};
  Batch x(tokens, batch), dy(tokens, batch), y(tokens, batch);
  Batch gamma({tokens.channels}, 1), beta({tokens.channels}, 1), sums({2 * tokens.channels}, batch);
  Node node{.op = Op::layer_norm, .shape = tokens};
  node.norm.epsilon = 1e-6f;
  Call<float> call{.node = &node, .batch = batch, .output = y.view};
  const double bytes = static_cast<double>(tokens.size()) * batch * sizeof(float);
  const auto sums_bytes = [](const Call<float>& c, int) { return tbb_kernels::layer_norm_sums_bytes<NativeIsa>(c); };
  switch (pass) {
    case Pass::forward:
      call.input = {x.view, gamma.view, beta.view};
      return measure(state, call, tbb_kernels::layer_norm<NativeIsa>, nullptr, "GB/s", 2 * bytes);
    case Pass::input_gradient:
      call.input = {dy.view, x.view, gamma.view};
      return measure(state, call, tbb_kernels::layer_norm_gradient<NativeIsa>, nullptr, "GB/s", 3 * bytes);
    case Pass::parameter_gradient:
      call.input = {dy.view, x.view};
      call.output = sums.view;
      return measure(state, call, tbb_kernels::layer_norm_sums<NativeIsa>, sums_bytes, "GB/s", 2 * bytes);
  }
}

/// A 1x1 convolution with bias. Arguments: threads, batch, input channels, output channels, extent.
void linear(benchmark::State& state, Pass pass) {
  const int batch = static_cast<int>(state.range(1));
  const int in = static_cast<int>(state.range(2));
  const int out = static_cast<int>(state.range(3));
  const int extent = static_cast<int>(state.range(4));
  Batch x({in, 1, extent, extent}, batch), y({out, 1, extent, extent}, batch);
  Batch w({out, 1, 1, in}, 1), bias({out}, 1);
  Node node{.op = Op::convolution};
  node.window = window2d(1);
  Call<float> call{.node = &node, .batch = batch};
  auto kernel = &tbb_kernels::convolution<NativeIsa>;
  auto scratch_bytes = &tbb_kernels::convolution_scratch_bytes<NativeIsa>;
  switch (pass) {
    case Pass::forward:
      call.input = {x.view, w.view, bias.view};
      call.output = y.view;
      break;
    case Pass::input_gradient:
      node.op = Op::transposed_convolution;
      node.swap_channels = true;
      call.input = {y.view, w.view};
      call.output = x.view;
      break;
    case Pass::parameter_gradient:
      node.op = Op::convolution_weight_gradient;
      kernel = &tbb_kernels::convolution_weight_gradient<NativeIsa>;
      scratch_bytes = &tbb_kernels::convolution_weight_gradient_scratch_bytes<NativeIsa>;
      call.input = {x.view, y.view};
      call.output = w.view;
  }
  node.shape = call.output.shape;
  const double flops = 2.0 * in * out * static_cast<double>(extent) * extent * batch;
  measure(state, call, kernel, scratch_bytes, "GFLOP/s", flops);
}

/// TransUNet with ViT-B/16 at 224 x 224 (14 x 14 tokens of 768 channels, 12 heads of 64) and at 512 x 512, and small
/// heads.
[[maybe_unused]] const bool registered = [] {
  const std::vector<Arguments> heads{{1, 64, 12, 14}, {8, 64, 12, 14}, {1, 64, 12, 32}, {2, 32, 8, 32}, {2, 8, 4, 32}};
  const std::vector<Arguments> maps{{1, 768, 14}, {8, 768, 14}, {8, 64, 32}};
  const std::vector<Arguments> layers{{1, 768, 768, 14}, {1, 768, 3072, 14}, {1, 3072, 768, 14},
                                      {8, 768, 768, 14}, {8, 768, 3072, 14}, {8, 3072, 768, 14}};
  const std::vector<std::string> of_heads{"batch", "head_size", "heads", "extent"};
  const std::vector<std::string> of_maps{"batch", "channels", "extent"};
  const std::vector<std::string> of_layers{"batch", "in", "out", "extent"};
  using State = benchmark::State;
  list("attention/forward", of_heads, heads, [](State& s) { attention(s, false); });
  list("attention/gradient", of_heads, heads, [](State& s) { attention(s, true); });
  list("layer_norm/forward", of_maps, maps, [](State& s) { layer_norm(s, Pass::forward); });
  list("layer_norm/gradient", of_maps, maps, [](State& s) { layer_norm(s, Pass::input_gradient); });
  list("layer_norm/sums", of_maps, maps, [](State& s) { layer_norm(s, Pass::parameter_gradient); });
  list("linear/forward", of_layers, layers, [](State& s) { linear(s, Pass::forward); });
  list("linear/input_gradient", of_layers, layers, [](State& s) { linear(s, Pass::input_gradient); });
  list("linear/weight_gradient", of_layers, layers, [](State& s) { linear(s, Pass::parameter_gradient); });
  return true;
}();

}  // namespace
