// SPDX-License-Identifier: MIT
// Convolution and transposed convolution: products of matrices that are never written out. Their weight gradient:
// convolution_weight_gradient.hpp.
//
// An Execution (execution.hpp) that runs these ops also has
//   packed                                      where pack_weight() has put the node's weight before, or null
//   run_tiles(execution, name, plan, program)   program(block, index) for every tile, phase and split of the plan
//   has_warpgroup_products(execution)           whether blocks multiply by warpgroups (convolution_hopper.hpp)
//   has_box_copies(execution), tensor_map(execution, boxes)    of the copy engine (tensor_map.hpp)
//   run_boxes(execution, name, plan, program)   as run_tiles, for programs whose operands the engine brings
// found by their argument: convolution.cuh on the device, an emulated block in the tests.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ulna/backend/cuda/convolution_box.hpp"
#include "ulna/backend/cuda/convolution_plan.hpp"
#include "ulna/backend/cuda/convolution_program.hpp"
#include "ulna/backend/cuda/pool.hpp"
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

/// A weight [tap][channel][output] as [tap][output][channel], in squares of 32 through shared memory.
struct TurnWeight {
  using State = NoState;
  static constexpr int side = 32, pitch = side + 1, threads = 256;
  static constexpr std::size_t shared_bytes = sizeof(float) * side * pitch;

  const float* weight;
  float* to;
  int channels, outputs;

  constexpr int across() const { return (outputs + side - 1) / side; }
  constexpr int down() const { return (channels + side - 1) / side; }
  constexpr std::int64_t squares(int taps) const { return std::int64_t{taps} * down() * across(); }

  ULNA_HOST_DEVICE int phases() const { return 2; }
  ULNA_HOST_DEVICE void operator()(int phase, const Position& at, State&) const {
    auto* const square = at.shared_as<float>();
    const auto [row, k] = divide(at.block, across());
    const auto [tap, c] = divide(row, down());
    for (int e = at.thread; e < side * side; e += threads) {
      const int i = e / side;
      const int j = e % side;
      const int channel = c * side + (phase == 0 ? i : j);
      const int output = k * side + (phase == 0 ? j : i);
      if (channel >= channels || output >= outputs) continue;
      if (phase == 0)
        square[i * pitch + j] = weight[(tap * channels + channel) * outputs + output];
      else
        to[(tap * outputs + output) * channels + channel] = square[j * pitch + i];
    }
  }
};

/// The sums of all splits in their order, bias, activation, residual. y may lie where the residual does.
template <class T>
struct FinishConvolution {
  const float* partial;
  int pitch, splits;
  std::int64_t split_size;
  const float* bias;
  ActivationOf activation;
  ResidualSum order;
  Tensor<T> residual, y;

  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const auto [q, k] = divide(i, y.shape.channels);
    float sum = 0.0f;
    for (int s = 0; s < splits; ++s) sum += partial[s * split_size + q * pitch + k];
    if (bias != nullptr) sum += bias[k];
    if (order == ResidualSum::before_activation) sum += static_cast<float>(row_of(residual, q)[k]);
    sum = activation(sum);
    if (order == ResidualSum::after_activation) sum += static_cast<float>(row_of(residual, q)[k]);
    row_of(y, q)[k] = static_cast<T>(sum);
  }
};

}  // namespace bodies

namespace detail {

/// How products want a weight: [tap][channel][output], outputs in whole chunks, or [tap][output][channel].
enum class WeightOrder : std::uint8_t { by_channel, by_output };

/// Whether products read the weight as it lies. `aligned`: it begins at a multiple of 16 bytes.
template <class Operand, class T>
bool reads_weight_itself(const Call<T>& call, bool aligned, WeightOrder order = WeightOrder::by_channel) {
  constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Operand));
  if (!std::is_same_v<Operand, float> || !aligned) return false;
  if (order == WeightOrder::by_output) return call.node->swap_channels;
  return !call.node->swap_channels && call.output.shape.channels % vector == 0;
}

/// In either order.
template <class Operand, class T>
std::int64_t packed_weight_size(const Call<T>& call) {
  constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Operand));
  return std::int64_t{call.node->window.taps()} * call.input[0].shape.channels *
         round_up(call.output.shape.channels, vector);
}

template <class T>
WindowGeometry geometry_of(const Call<T>& call) {
  return window_geometry(call.node->window, call.input[0].shape.extent(), call.output.shape.extent(),
                         call.node->op == Op::transposed_convolution);
}

/// How a weight is packed for runs of any batch. Floats come in boxes by output alone, and by channel otherwise: which
/// it will be is decided as for a large batch.
template <Arithmetic A, bool Split, class Execution, class T>
WeightOrder packed_order(const Execution& on, const Call<T>& call) {
  if constexpr (A == Arithmetic::tf32 && Split)
    if (has_box_copies(on) && in_chunks(call.input[0]) &&
        plan_boxes<A>(geometry_of(call), tile_rows, call.input[0].shape.channels, call.output.shape.channels).pays)
      return WeightOrder::by_output;
  return WeightOrder::by_channel;
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

/// Calls run.operator()<kind>(), on tensor cores with the kinds of warpgroups.
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
  if constexpr (A != Arithmetic::exact) {
    if (kind == TileKind::warpgroup_large) return run.template operator()<TileKind::warpgroup_large>();
    if (kind == TileKind::warpgroup_medium) return run.template operator()<TileKind::warpgroup_medium>();
    run.template operator()<TileKind::warpgroup_small>();
  }
}

}  // namespace detail

/// Whether operands come in boxes.
enum class Boxes : std::uint8_t { no, where_they_pay, yes };

/// Working memory of a convolution, and how it is computed.
template <Arithmetic A>
struct ConvolutionBuffers {
  using Operand = typename OperandOf<A>::type;
  static constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Operand));

  template <class T>
  ConvolutionBuffers(const Call<T>& call, Workspace& w, bool warpgroups = false, Boxes boxes = Boxes::no,
                     bool split = true)
      : window(detail::geometry_of(call)), slow_activation(!QuickActivation::covers(call.node->activation)) {
    const int channels = call.input[0].shape.channels;
    const int outputs = call.output.shape.channels;
    const ProductSize size{call.output.batch * most_pixels(window), outputs, most_taps(window) * channels,
                           window.phases()};
    const bool whole = detail::in_chunks(call.input[0]);
    plan = plan_product(size, {vector, whole, warpgroups && A == Arithmetic::bf16, split});
    BoxPlan in_boxes;
    if constexpr (A != Arithmetic::exact) in_boxes = plan_boxes<A>(window, call.output.batch, channels, outputs);
    if (boxes == Boxes::yes || (boxes == Boxes::where_they_pay && whole && in_boxes.pays)) {
      plan = in_boxes.product;
      tiling = in_boxes.tiling;
    }
    weight_pitch = round_up(outputs, vector);
    partial_pitch = round_up(outputs, 4);
    split_size = rows_of(call.output) * partial_pitch;
    packed = w.take<Operand>(detail::packed_weight_size<Operand>(call));
    std::int64_t partials = detail::most_partials(size, vector, split_size, slow_activation);
    if (in_boxes.tiling.boxes() > 0 && (in_boxes.product.splits > 1 || slow_activation))
      partials = std::max(partials, in_boxes.product.splits * split_size);
    partial = w.take<float>(partials);
  }

  /// Whether a pass after the product adds up the splits, or applies the activation.
  bool finishes() const { return plan.splits > 1 || slow_activation; }

  /// Whether the product pools its outputs on their way to memory. Otherwise that is a pass of its own.
  template <class T>
  bool pools(const Call<T>& call) const {
    return call.pool != nullptr && tiling.boxes() > 0 && tiling.holds_windows() && !finishes() &&
           call.node->residual == ResidualSum::none;
  }

  template <class T>
  ConvolutionTarget<T> target(const Call<T>& call) const {
    const Tensor<T>& residual = call.input[residual_input];
    const Tensor<T> pooled = pools(call) ? call.pool->output : Tensor<T>{};
    return {call.output,
            detail::in_chunks(call.output),
            held_as<float>(call.input[2]).data,
            QuickActivation(*call.node),
            finishes() ? partial : nullptr,
            partial_pitch,
            {residual.data, residual.pixel_stride, detail::in_chunks(residual)},
            call.node->residual == ResidualSum::before_activation,
            pooled,
            detail::in_chunks(pooled)};
  }

  WindowGeometry window;
  bool slow_activation;
  ProductPlan plan;
  BoxTiling tiling{};  ///< there are boxes where the operands come in boxes
  int weight_pitch, partial_pitch;
  std::int64_t split_size;
  Operand* packed;
  float* partial;
};

namespace detail {

template <class Operand, class Execution, class T>
void pack_weight(const Execution& on, const Call<T>& call, Operand* to, WeightOrder order) {
  constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Operand));
  const float* const weight = held_as<float>(call.input[1]).data;
  const int channels = call.input[0].shape.channels;
  const int outputs = call.output.shape.channels;
  if constexpr (std::is_same_v<Operand, float>)
    if (order == WeightOrder::by_output && !call.node->swap_channels) {
      const bodies::TurnWeight turn{weight, to, channels, outputs};
      return on.blocks("pack_weight", turn.squares(call.node->window.taps()), turn.threads, turn.shared_bytes, turn);
    }
  const bool copied = order == WeightOrder::by_output;  // it lies by output already, but not aligned
  on.each(
      "pack_weight",
      copied ? std::int64_t{call.node->window.taps()} * channels * outputs : packed_weight_size<Operand>(call),
      bodies::PackWeight<Operand>{weight, to, copied ? outputs : channels, copied ? channels : outputs,
                                  copied ? channels : round_up(outputs, vector), !copied && call.node->swap_channels});
}

/// The weight as the product reads it: itself where it already lies so, packed before, or packed now.
template <class Operand, class Execution, class T>
const Operand* packed_weight(const Execution& on, const Call<T>& call, Operand* packed, WeightOrder order) {
  if (on.packed != nullptr) return reinterpret_cast<const Operand*>(on.packed);
  const Tensor<float> w = held_as<float>(call.input[1]);
  const bool aligned = reinterpret_cast<std::uintptr_t>(w.data) % chunk_bytes == 0;
  if constexpr (std::is_same_v<Operand, float>)
    if (reads_weight_itself<Operand>(call, aligned, order)) return w.data;
  pack_weight(on, call, packed, order);
  return packed;
}

/// As many launches as the phases take.
template <Arithmetic A, class Program, class Launch>
void each_launch(const ConvolutionBuffers<A>& b, Program& program, const Launch& launch) {
  ProductPlan plan = b.plan;
  for (int first = 0; first < b.plan.phases; first += PhaseTable::capacity) {
    plan.phases = std::min(b.plan.phases - first, PhaseTable::capacity);
    program.phases = PhaseTable::of(b.window, first);
    launch(plan);
  }
}

template <Arithmetic A, TileKind Kind, class Execution, class T>
void run_convolution(const Execution& on, const Call<T>& call, const ConvolutionBuffers<A>& b,
                     const typename OperandOf<A>::type* weight) {
  using Tile = typename TileOf<A, Major::k, Kind>::type;
  ConvolutionProgram<Tile, Kind != TileKind::general, T> program{
      .input = call.input[0],
      .weight = weight,
      .weight_pitch = b.weight_pitch,
      .kernel = b.window.kernel(),
      .phases = {},
      .to = b.target(call),
      .steps_per_split = b.plan.steps_per_split,
      .column_tiles = b.plan.column_tiles,
  };
  each_launch(b, program, [&](const ProductPlan& plan) { run_tiles(on, "convolution", plan, program); });
}

/// The same with operands that come in boxes.
template <Arithmetic A, TileKind Kind, class Execution, class T>
void run_box_convolution(const Execution& on, const Call<T>& call, const ConvolutionBuffers<A>& b, const T* weight) {
  using Tile = typename TileOf<A, Major::k, Kind>::type;
  const Tensor<T>& x = call.input[0];
  const int taps = b.window.taps();
  BoxConvolutionProgram<Tile, T> program{
      .input = tensor_map(on, boxes_of(x, b.tiling)),
      .weight = tensor_map(
          on, Tile::b_major == Major::k
                  ? boxes_of_weight(weight, taps, call.output.shape.channels, x.shape.channels, Tile::columns)
                  : boxes_of_weight(weight, taps, x.shape.channels, b.weight_pitch, Tile::depth)),
      .tiling = b.tiling,
      .batch = x.batch,
      .channels = x.shape.channels,
      .kernel = b.window.kernel(),
      .phases = {},
      .to = b.target(call),
      .steps_per_split = b.plan.steps_per_split,
      .column_tiles = b.plan.column_tiles,
  };
  each_launch(b, program, [&](const ProductPlan& plan) { run_boxes(on, "convolution", plan, program); });
}

}  // namespace detail

/// Op::convolution and Op::transposed_convolution. Parameters are float, whatever T is. Without Split an output's bits
/// depend on its window alone.
template <Arithmetic A, class Execution, class T, bool Split = true>
void convolution(const Execution& on, const Call<T>& call) {
  static_assert(std::is_same_v<T, typename OperandOf<A>::type>);
  Workspace workspace(call.scratch.data());
  Boxes boxes = Split && has_box_copies(on) ? Boxes::where_they_pay : Boxes::no;
  if (A == Arithmetic::tf32 && on.packed != nullptr)  // by the order in which it was packed
    boxes = detail::packed_order<A, Split>(on, call) == detail::WeightOrder::by_output ? Boxes::yes : Boxes::no;
  const ConvolutionBuffers<A> b(call, workspace, has_warpgroup_products(on), boxes, Split);
  const bool in_boxes = b.tiling.boxes() > 0;
  const auto* weight = detail::packed_weight(
      on, call, b.packed,
      in_boxes && A == Arithmetic::tf32 ? detail::WeightOrder::by_output : detail::WeightOrder::by_channel);
  detail::with_kind<A>(b.plan.kind, [&]<TileKind kind>() {
    if constexpr (kind >= TileKind::warpgroup_large)
      if (in_boxes || A == Arithmetic::tf32) return detail::run_box_convolution<A, kind>(on, call, b, weight);
    if constexpr (kind < TileKind::warpgroup_large || A == Arithmetic::bf16)
      detail::run_convolution<A, kind>(on, call, b, weight);
  });
  if (b.finishes())
    on.each("finish_convolution", rows_of(call.output) * call.output.shape.channels,
            bodies::FinishConvolution<T>{b.partial, b.partial_pitch, b.plan.splits, b.split_size,
                                         held_as<float>(call.input[2]).data, ActivationOf(*call.node),
                                         call.node->residual, call.input[residual_input], call.output});
  if (call.pool != nullptr && !b.pools(call)) max_pool(on, *call.pool);
}

/// Bytes of a weight that pack_weight() packs when parameters change; 0: products read it as it lies. `aligned`: it
/// begins at a multiple of 16 bytes.
template <Arithmetic A, bool Split = true, class Execution, class T>
std::size_t packed_weight_bytes(const Execution& on, const Call<T>& call, bool aligned) {
  using Operand = typename OperandOf<A>::type;
  if (detail::reads_weight_itself<Operand>(call, aligned, detail::packed_order<A, Split>(on, call))) return 0;
  return static_cast<std::size_t>(detail::packed_weight_size<Operand>(call)) * sizeof(Operand);
}

/// Packs the weight of a convolution for later runs, which find it in Execution::packed.
template <Arithmetic A, bool Split = true, class Execution, class T>
void pack_weight(const Execution& on, const Call<T>& call, std::byte* to) {
  detail::pack_weight(on, call, reinterpret_cast<typename OperandOf<A>::type*>(to),
                      detail::packed_order<A, Split>(on, call));
}

template <Arithmetic A, class T>
std::size_t convolution_scratch_bytes(const Call<T>& call) {
  return bytes_for<ConvolutionBuffers<A>>(call);
}

}  // namespace ulna::cuda
