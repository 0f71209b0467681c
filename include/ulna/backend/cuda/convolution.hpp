// SPDX-License-Identifier: MIT
// Convolution, transposed convolution and the weight gradient: products of matrices that are never written out.
//
// An Execution (execution.hpp) that runs these ops also has
//   run_tiles(execution, name, plan, program)   program(block, index) for every tile, phase and split of the plan
//   has_warpgroup_products(execution)           whether blocks multiply by warpgroups (convolution_hopper.hpp)
// found by their argument: convolution.cuh on the device, an emulated block in the tests.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ulna/backend/cuda/convolution_plan.hpp"
#include "ulna/backend/cuda/convolution_program.hpp"
#include "ulna/backend/workspace.hpp"

namespace ulna::cuda {

namespace bodies {

/// A weight as products read it: [tap][channel][pitch], zeros behind the last output. `swapped`: it is stored
/// [tap][output][channel].
template <class T>
struct PackWeight {
  const float* weight;
  T* to;
  int channels, outputs, pitch;
  bool swapped;

  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const auto [row, k] = divide(i, pitch);
    if (k >= outputs) {
      to[i] = T{};
      return;
    }
    const auto [tap, c] = divide(row, channels);
    to[i] = static_cast<T>(swapped ? weight[(tap * outputs + k) * channels + c] : weight[row * outputs + k]);
  }
};

/// The sums of all splits in their order, bias, activation.
template <class T>
struct FinishConvolution {
  const float* partial;
  int pitch, splits;
  std::int64_t split_size;
  const float* bias;
  ActivationOf activation;
  Tensor<T> y;

  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const auto [q, k] = divide(i, y.shape.channels);
    float sum = 0.0f;
    for (int s = 0; s < splits; ++s) sum += partial[s * split_size + q * pitch + k];
    if (bias != nullptr) sum += bias[k];
    row_of(y, q)[k] = static_cast<T>(activation(sum));
  }
};

/// The sums of all splits in their order, where the weight keeps them: [tap][large channel][small channel], or with
/// `swapped` [tap][small channel][large channel].
struct FinishWeightGradient {
  const float* partial;
  int pitch, splits;
  std::int64_t split_size;
  int large, small;
  float* gradient;
  bool swapped, accumulate;

  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const auto [row, s] = divide(i, small);
    float sum = 0.0f;
    for (int split = 0; split < splits; ++split) sum += partial[split * split_size + row * pitch + s];
    const auto [tap, l] = divide(row, large);
    float& to = gradient[swapped ? (tap * small + s) * large + l : i];
    to = accumulate ? to + sum : sum;
  }
};

}  // namespace bodies

namespace detail {

/// Whether every pixel's channels can be copied in whole chunks of 16 bytes.
template <class T>
bool in_chunks(const Tensor<T>& x) {
  constexpr int vector = chunk_bytes / static_cast<int>(sizeof(T));
  return x.shape.channels % vector == 0 && x.pixel_stride % vector == 0 &&
         reinterpret_cast<std::uintptr_t>(x.data) % chunk_bytes == 0;
}

/// Floats of the partial sums that any way of computing may need: which it is, addresses and the device decide.
constexpr std::int64_t most_partials(const ProductSize& size, int vector, std::int64_t sums_of_a_split, bool always) {
  std::int64_t most = 0;
  for (const ProductMeans means : {ProductMeans{vector, false}, {vector, true}, {vector, true, true}}) {
    const ProductPlan plan = plan_product(size, means);
    if (always || plan.splits > 1) most = std::max(most, plan.splits * sums_of_a_split);
  }
  return most;
}

/// Calls run.operator()<kind>(), for bf16 with the kinds of warpgroups.
template <Arithmetic A, class Run>
void with_kind(TileKind kind, const Run& run) {
  switch (kind) {
    case TileKind::large:
      return run.template operator()<TileKind::large>();
    case TileKind::medium:
      return run.template operator()<TileKind::medium>();
    case TileKind::small:
      return run.template operator()<TileKind::small>();
    case TileKind::general:
      return run.template operator()<TileKind::general>();
    default:
      break;
  }
  if constexpr (A == Arithmetic::bf16) {
    if (kind == TileKind::warpgroup_large) return run.template operator()<TileKind::warpgroup_large>();
    if (kind == TileKind::warpgroup_medium) return run.template operator()<TileKind::warpgroup_medium>();
    run.template operator()<TileKind::warpgroup_small>();
  }
}

}  // namespace detail

/// Working memory of a convolution, and how it is computed.
template <Arithmetic A>
struct ConvolutionBuffers {
  using Operand = typename OperandOf<A>::type;
  static constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Operand));

  template <class T>
  ConvolutionBuffers(const Call<T>& call, Workspace& w, bool warpgroups = false)
      : window(window_geometry(call.node->window, call.input[0].shape.extent(), call.output.shape.extent(),
                               call.node->op == Op::transposed_convolution)),
        slow_activation(!QuickActivation::covers(call.node->activation)) {
    const int channels = call.input[0].shape.channels;
    const int outputs = call.output.shape.channels;
    const ProductSize size{call.output.batch * most_pixels(window), outputs, most_taps(window) * channels,
                           window.phases()};
    plan = plan_product(size, {vector, detail::in_chunks(call.input[0]), warpgroups && A == Arithmetic::bf16});
    weight_pitch = round_up(outputs, vector);
    partial_pitch = round_up(outputs, 4);
    split_size = rows_of(call.output) * partial_pitch;
    packed = w.take<Operand>(std::int64_t{window.taps()} * channels * weight_pitch);
    partial = w.take<float>(detail::most_partials(size, vector, split_size, slow_activation));
  }

  WindowGeometry window;
  bool slow_activation;
  ProductPlan plan;
  int weight_pitch, partial_pitch;
  std::int64_t split_size;
  Operand* packed;
  float* partial;
};

namespace detail {

/// The weight as the product reads it: itself where it already lies so, or packed.
template <class Operand, class Execution, class T>
const Operand* packed_weight(const Execution& on, const Call<T>& call, Operand* packed, int pitch) {
  const Tensor<float> w = held_as<float>(call.input[1]);
  const int channels = call.input[0].shape.channels;
  const int outputs = call.output.shape.channels;
  if constexpr (std::is_same_v<Operand, float>)
    if (!call.node->swap_channels && pitch == outputs && reinterpret_cast<std::uintptr_t>(w.data) % chunk_bytes == 0)
      return w.data;
  const std::int64_t rows = std::int64_t{call.node->window.taps()} * channels;
  on.each("pack_weight", rows * pitch,
          bodies::PackWeight<Operand>{w.data, packed, channels, outputs, pitch, call.node->swap_channels});
  return packed;
}

template <Arithmetic A, TileKind Kind, class Execution, class T>
void run_convolution(const Execution& on, const Call<T>& call, const ConvolutionBuffers<A>& b,
                     const typename OperandOf<A>::type* weight) {
  using Tile = typename TileOf<A, Major::k, Kind>::type;
  const bool finish = b.plan.splits > 1 || b.slow_activation;
  ConvolutionProgram<Tile, Kind != TileKind::general, T> program{
      .input = call.input[0],
      .weight = weight,
      .weight_pitch = b.weight_pitch,
      .kernel = b.window.kernel(),
      .phases = {},
      .output = call.output,
      .whole_output = in_chunks(call.output),
      .bias = held_as<float>(call.input[2]).data,
      .activation = QuickActivation(*call.node),
      .partial = finish ? b.partial : nullptr,
      .partial_pitch = b.partial_pitch,
      .steps_per_split = b.plan.steps_per_split,
      .column_tiles = b.plan.column_tiles,
  };
  ProductPlan plan = b.plan;
  for (int first = 0; first < b.plan.phases; first += PhaseTable::capacity) {
    plan.phases = std::min(b.plan.phases - first, PhaseTable::capacity);
    program.phases = PhaseTable::of(b.window, first);
    run_tiles(on, "convolution", plan, program);
  }
}

}  // namespace detail

/// Op::convolution and Op::transposed_convolution. Parameters are float, whatever T is.
template <Arithmetic A, class Execution, class T>
void convolution(const Execution& on, const Call<T>& call) {
  static_assert(std::is_same_v<T, typename OperandOf<A>::type>);
  Workspace workspace(call.scratch.data());
  const ConvolutionBuffers<A> b(call, workspace, has_warpgroup_products(on));
  const auto* weight = detail::packed_weight(on, call, b.packed, b.weight_pitch);
  detail::with_kind<A>(b.plan.kind, [&]<TileKind kind>() { detail::run_convolution<A, kind>(on, call, b, weight); });
  if (b.plan.splits == 1 && !b.slow_activation) return;
  on.each("finish_convolution", rows_of(call.output) * call.output.shape.channels,
          bodies::FinishConvolution<T>{b.partial, b.partial_pitch, b.plan.splits, b.split_size,
                                       held_as<float>(call.input[2]).data, ActivationOf(*call.node), call.output});
}

template <Arithmetic A, class T>
std::size_t convolution_scratch_bytes(const Call<T>& call) {
  return bytes_for<ConvolutionBuffers<A>>(call);
}

/// Working memory of a weight gradient, and how it is computed.
template <Arithmetic A>
struct WeightGradientBuffers {
  template <class T>
  WeightGradientBuffers(const Call<T>& call, Workspace& w, bool warpgroups = false)
      : window(window_geometry(call.node->window, call.input[0].shape.extent(), call.input[1].shape.extent(), false)),
        rows(window.taps() * call.input[0].shape.channels),
        partial_pitch(round_up(call.input[1].shape.channels, 4)),
        split_size(std::int64_t{rows} * partial_pitch) {
    constexpr int vector = ConvolutionBuffers<A>::vector;
    const ProductSize size{rows, call.input[1].shape.channels, static_cast<int>(rows_of(call.input[1]))};
    const bool whole = detail::in_chunks(call.input[0]) && detail::in_chunks(call.input[1]);
    plan = plan_product(size, {vector, whole, warpgroups && A == Arithmetic::bf16});
    partial = w.take<float>(detail::most_partials(size, vector, split_size, true));
  }

  WindowGeometry window;
  int rows, partial_pitch;
  std::int64_t split_size;
  ProductPlan plan;
  float* partial;
};

namespace detail {

template <Arithmetic A, TileKind Kind, class Execution, class T>
void run_weight_gradient(const Execution& on, const Call<T>& call, const WeightGradientBuffers<A>& b) {
  using Tile = typename TileOf<A, Major::mn, Kind>::type;
  const WeightGradientProgram<Tile, Kind != TileKind::general> program{
      .large = call.input[0],
      .small = call.input[1],
      .walk = walk_phase(b.window, 0),
      .partial = b.partial,
      .partial_pitch = b.partial_pitch,
      .steps_per_split = b.plan.steps_per_split,
      .column_tiles = b.plan.column_tiles,
  };
  run_tiles(on, "convolution_weight_gradient", b.plan, program);
}

}  // namespace detail

/// Op::convolution_weight_gradient. The gradient is float, whatever T is.
template <Arithmetic A, class Execution, class T>
void convolution_weight_gradient(const Execution& on, const Call<T>& call) {
  static_assert(std::is_same_v<T, typename OperandOf<A>::type>);
  Workspace workspace(call.scratch.data());
  const WeightGradientBuffers<A> b(call, workspace, has_warpgroup_products(on));
  detail::with_kind<A>(b.plan.kind, [&]<TileKind kind>() { detail::run_weight_gradient<A, kind>(on, call, b); });
  const int small = call.input[1].shape.channels;
  on.each("finish_weight_gradient", std::int64_t{b.rows} * small,
          bodies::FinishWeightGradient{b.partial, b.partial_pitch, b.plan.splits, b.split_size,
                                       call.input[0].shape.channels, small, held_as<float>(call.output).data,
                                       call.node->swap_channels, call.node->accumulate});
}

template <Arithmetic A, class T>
std::size_t convolution_weight_gradient_scratch_bytes(const Call<T>& call) {
  return bytes_for<WeightGradientBuffers<A>>(call);
}

}  // namespace ulna::cuda
