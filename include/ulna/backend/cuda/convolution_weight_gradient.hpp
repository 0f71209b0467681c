// SPDX-License-Identifier: MIT
// The gradient of a convolution's weight: a product whose terms are pixels, in parts that are added in their order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ulna/backend/cuda/convolution.hpp"
#include "ulna/backend/cuda/convolution_turned.hpp"

namespace ulna::cuda {

namespace bodies {

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

/// Working memory of a weight gradient, and how it is computed.
template <Arithmetic A>
struct WeightGradientBuffers {
  template <class T>
  WeightGradientBuffers(const Call<T>& call, Workspace& w, bool warpgroups = false, bool boxes = false)
      : window(window_geometry(call.node->window, call.input[0].shape.extent(), call.input[1].shape.extent(), false)),
        rows(window.taps() * call.input[0].shape.channels),
        partial_pitch(round_up(call.input[1].shape.channels, 4)),
        split_size(std::int64_t{rows} * partial_pitch) {
    constexpr int vector = ConvolutionBuffers<A>::vector;
    const ProductSize size{rows, call.input[1].shape.channels, static_cast<int>(rows_of(call.input[1]))};
    const bool whole = detail::in_chunks(call.input[0]) && detail::in_chunks(call.input[1]);
    const ProductMeans turned{vector, true, true, true, true};
    plan = A == Arithmetic::tf32 && whole && warpgroups
               ? plan_product(size, turned)
               : plan_product(size, {vector, whole, warpgroups && A == Arithmetic::bf16});
    BoxPlan in_boxes;
    if constexpr (A == Arithmetic::bf16)
      in_boxes = plan_gradient_boxes(window, call.input[0].batch, call.input[0].shape.channels, size.columns);
    if (whole && boxes && in_boxes.pays) {
      plan = in_boxes.product;
      tiling = in_boxes.tiling;
    }
    std::int64_t partials = detail::most_partials(size, vector, split_size, true);
    if (in_boxes.pays) partials = std::max(partials, in_boxes.product.splits * split_size);
    if (A == Arithmetic::tf32) partials = std::max(partials, plan_product(size, turned).splits * split_size);
    partial = w.take<float>(partials);
  }

  WindowGeometry window;
  int rows, partial_pitch;
  std::int64_t split_size;
  ProductPlan plan;
  BoxTiling tiling{};  ///< there are boxes where the operands come in boxes
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

template <TileKind Kind, class Execution>
void run_turned_weight_gradient(const Execution& on, const Call<float>& call,
                                const WeightGradientBuffers<Arithmetic::tf32>& b) {
  using Tile = typename TileOf<Arithmetic::tf32, Major::mn, Kind>::type;
  const TurnedWeightGradientProgram<Tile> program{
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

template <TileKind Kind, class Execution>
void run_box_weight_gradient(const Execution& on, const Call<bf16>& call,
                             const WeightGradientBuffers<Arithmetic::bf16>& b) {
  using Tile = typename TileOf<Arithmetic::bf16, Major::mn, Kind>::type;
  const Tensor<bf16>& large = call.input[0];
  const Tensor<bf16>& small = call.input[1];
  const BoxWeightGradientProgram<Tile> program{
      .large = tensor_map(on, boxes_of(large, b.tiling)),
      .small = tensor_map(on, boxes_of(small, b.tiling)),
      .tiling = b.tiling,
      .walk = walk_phase(b.window, 0),
      .channels = large.shape.channels,
      .columns = small.shape.channels,
      .partial = b.partial,
      .partial_pitch = b.partial_pitch,
      .steps_per_split = b.plan.steps_per_split,
      .column_tiles = b.plan.column_tiles,
  };
  run_boxes(on, "convolution_weight_gradient", b.plan, program);
}

}  // namespace detail

/// Op::convolution_weight_gradient. The gradient is float, whatever T is.
template <Arithmetic A, class Execution, class T>
void convolution_weight_gradient(const Execution& on, const Call<T>& call) {
  static_assert(std::is_same_v<T, typename OperandOf<A>::type>);
  Workspace workspace(call.scratch.data());
  const WeightGradientBuffers<A> b(call, workspace, has_warpgroup_products(on), has_box_copies(on));
  detail::with_kind<A>(b.plan.kind, [&]<TileKind kind>() {
    if constexpr (kind < TileKind::warpgroup_large)
      detail::run_weight_gradient<A, kind>(on, call, b);
    else if constexpr (A == Arithmetic::bf16)
      b.tiling.boxes() > 0 ? detail::run_box_weight_gradient<kind>(on, call, b)
                           : detail::run_weight_gradient<A, kind>(on, call, b);
    else if constexpr (kind != TileKind::warpgroup_large)
      detail::run_turned_weight_gradient<kind>(on, call, b);
  });
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
