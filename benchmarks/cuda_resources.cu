// SPDX-License-Identifier: MIT
// Every tile kernel of the convolution family and of attention, for the compiler's word on registers and shared memory
// (cuda_resources.sh).
#include <ulna/backend/cuda/attention.hpp>
#include <ulna/backend/cuda/convolution.cuh>
#include <ulna/backend/cuda/convolution_turned.hpp>
#include <ulna/backend/cuda/winograd_program.hpp>

namespace {

using namespace ulna;
using namespace ulna::cuda;

template <class Program>
void take() {
  (void)&cuda::detail::tile_kernel<Program>;
}

template <Arithmetic A, TileKind Kind>
void take_kind() {
  using T = typename OperandOf<A>::type;
  take<ConvolutionProgram<typename TileOf<A, Major::k, Kind>::type, Kind != TileKind::general, T>>();
  take<WeightGradientProgram<typename TileOf<A, Major::mn, Kind>::type, Kind != TileKind::general>>();
}

template <Arithmetic A, TileKind Kind>
void take_boxes() {
  using Tile = typename TileOf<A, Major::k, Kind>::type;
  (void)&cuda::detail::box_kernel<BoxConvolutionProgram<Tile, typename OperandOf<A>::type>>;
  if constexpr (A == Arithmetic::bf16) {
    using GradientTile = typename TileOf<A, Major::mn, Kind>::type;
    (void)&cuda::detail::box_kernel<BoxWeightGradientProgram<GradientTile>>;
  }
}

template <TileKind Kind>
void take_turned() {
  take<TurnedWeightGradientProgram<typename TileOf<Arithmetic::tf32, Major::mn, Kind>::type>>();
}

template <TileKind Kind>
void take_winograd() {
  take<WinogradProgram<typename TileOf<Arithmetic::exact, Major::k, Kind>::type>>();
}

template <Arithmetic A, int Size>
void take_heads() {
  take<AttentionProgram<A, Size>>();
  take<QueryGradientProgram<A, Size>>();
  take<KeyGradientProgram<A, Size>>();
}

template <Arithmetic A>
void take_arithmetic() {
  take_kind<A, TileKind::large>();
  take_kind<A, TileKind::medium>();
  take_kind<A, TileKind::small>();
  take_kind<A, TileKind::general>();
  if constexpr (A == Arithmetic::bf16) {
    take_kind<A, TileKind::warpgroup_large>();
    take_kind<A, TileKind::warpgroup_medium>();
    take_kind<A, TileKind::warpgroup_small>();
  }
  if constexpr (A != Arithmetic::exact) {
    take_boxes<A, TileKind::warpgroup_large>();
    take_boxes<A, TileKind::warpgroup_medium>();
    take_boxes<A, TileKind::warpgroup_small>();
    take_heads<A, 32>();
    take_heads<A, 64>();
  }
}

}  // namespace

void take_all() {
  take_arithmetic<Arithmetic::exact>();
  take_arithmetic<Arithmetic::tf32>();
  take_arithmetic<Arithmetic::bf16>();
  take_turned<TileKind::warpgroup_medium>();
  take_turned<TileKind::warpgroup_small>();
  take_winograd<TileKind::large>();
  take_winograd<TileKind::medium>();
}
