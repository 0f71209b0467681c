// SPDX-License-Identifier: MIT
// Convolutions of floats as Winograd's F(4x4, 3x3), where that wins (winograd_plan.hpp): the weight is transformed once
// for a run, or packed before; then, band by band, tiles of the input are transformed, multiplied by the weight at each
// of 36 points, and transformed to tiles of the output.
//
// An output's bits depend on its tile of 6 x 6 inputs.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ulna/backend/cuda/convolution.hpp"
#include "ulna/backend/cuda/winograd_program.hpp"

namespace ulna::cuda {

/// Working memory, and how the convolution is computed.
struct WinogradBuffers {
  WinogradBuffers(const Call<float>& call, Workspace& w, bool packed = false, int band = 0)
      : tiles(WinogradTiles::of(*call.node, call.output.shape)),
        size{call.input[0].shape.channels, call.output.shape.channels, tiles.of_a_sample() * call.batch},
        plan(plan_winograd(size)) {
    if (band > 0) plan.band = band;
    weights = packed ? nullptr : w.take<float>(size.weight());
    inputs = w.take<float>(std::int64_t{winograd::F4::products} * plan.band * size.channel_pitch());
    products = w.take<float>(std::int64_t{winograd::F4::products} * plan.band * size.output_pitch());
  }

  WinogradTiles tiles;
  WinogradSize size;
  WinogradPlan plan;
  float *weights, *inputs, *products;
};

namespace detail {

template <class Execution>
void transform_weight(const Execution& on, const Call<float>& call, float* to) {
  const int outputs = call.output.shape.channels;
  const bodies::TransformWeight transform{.weight = call.input[1].data,
                                          .planes = to,
                                          .channels = call.input[0].shape.channels,
                                          .outputs = outputs,
                                          .output_pitch = round_up(outputs, 4),
                                          .swapped = call.node->swap_channels,
                                          .reversed = call.node->op == Op::transposed_convolution};
  on.blocks("pack_weight", transform.squares(), transform.threads, transform.shared_bytes, transform);
}

template <TileKind Kind, class Execution>
void multiply_points(const Execution& on, const WinogradBuffers& b, const float* weights, const WinogradSize& band) {
  using Tile = typename TileOf<Arithmetic::exact, Major::k, Kind>::type;
  ProductPlan plan;
  plan.kind = Kind;
  plan.row_tiles = b.plan.row_tiles(band.tiles);
  plan.column_tiles = b.plan.column_tiles;
  plan.phases = winograd::F4::products;
  run_tiles(on, "winograd_products", plan,
            WinogradProgram<Tile>{b.inputs, weights, b.products, band, plan.column_tiles});
}

}  // namespace detail

/// Op::convolution and Op::transposed_convolution, of calls that suits_winograd() covers. `band`: tiles at a time, for
/// tests.
template <class Execution>
void winograd_convolution(const Execution& on, const Call<float>& call, int band_tiles = 0) {
  const bool packed = on.packed != nullptr;
  Workspace workspace(call.scratch.data());
  const WinogradBuffers b(call, workspace, packed, band_tiles);
  if (!packed) detail::transform_weight(on, call, b.weights);
  const auto* const weights = packed ? reinterpret_cast<const float*>(on.packed) : b.weights;
  for (int first = 0; first < b.size.tiles; first += b.plan.band) {
    WinogradSize band = b.size;
    band.tiles = std::min(b.plan.band, b.size.tiles - first);
    const std::int64_t rows = band.tiles;
    on.each("winograd_inputs", rows * band.channel_pitch(),
            bodies::TransformInput{call.input[0], b.tiles, first, band.channel_pitch(), b.inputs,
                                   rows * band.channel_pitch()});
    if (b.plan.kind == TileKind::large)
      detail::multiply_points<TileKind::large>(on, b, weights, band);
    else
      detail::multiply_points<TileKind::medium>(on, b, weights, band);
    on.each("winograd_outputs", rows * band.outputs,
            bodies::TransformProducts{b.products, first, band.output_pitch(), rows * band.output_pitch(), b.tiles,
                                      call.input[2].data, ActivationOf(*call.node), call.output, call.node->residual,
                                      call.input[residual_input], call.pool ? call.pool->output : Tensor<float>{}});
  }
}

/// Op::convolution and Op::transposed_convolution in float: as Winograd where that wins, or with Always wherever it can
/// be.
template <bool Always, class Execution>
void exact_convolution(const Execution& on, const Call<float>& call) {
  if (takes_winograd(call, on.packed != nullptr, Always)) return winograd_convolution(on, call);
  convolution<Arithmetic::exact>(on, call);
}

template <bool Always>
std::size_t exact_convolution_scratch_bytes(const Call<float>& call) {
  std::size_t bytes = convolution_scratch_bytes<Arithmetic::exact>(call);
  if (takes_winograd(call, false, Always) || takes_winograd(call, true, Always))
    bytes = std::max(bytes, bytes_for<WinogradBuffers>(call));
  return bytes;
}

/// As packed_weight_bytes() and pack_weight() of direct convolutions.
template <bool Always, class Execution>
std::size_t exact_packed_weight_bytes(const Execution& on, const Call<float>& call, bool aligned) {
  if (!takes_winograd(call, true, Always)) return packed_weight_bytes<Arithmetic::exact>(on, call, aligned);
  const WinogradSize size{call.input[0].shape.channels, call.output.shape.channels};
  return static_cast<std::size_t>(size.weight()) * sizeof(float);
}
template <bool Always, class Execution>
void exact_pack_weight(const Execution& on, const Call<float>& call, std::byte* to) {
  if (takes_winograd(call, true, Always)) return detail::transform_weight(on, call, reinterpret_cast<float*>(to));
  pack_weight<Arithmetic::exact>(on, call, to);
}

}  // namespace ulna::cuda
