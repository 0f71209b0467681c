// SPDX-License-Identifier: MIT
// How convolutions are computed: a template argument of `cpu::Tbb`.
#pragma once

#include <type_traits>

#include "ulna/backend/tbb/convolution.hpp"
#include "ulna/backend/tbb/pair_convolution.hpp"
#include "ulna/backend/tbb/pair_weight_gradient.hpp"
#include "ulna/backend/tbb/weight_gradient.hpp"
#include "ulna/backend/tbb/winograd.hpp"
#include "ulna/backend/tbb/winograd_weight_gradient.hpp"
#include "ulna/graph/analyse.hpp"

/// `Tiles` is what exact tiles of an image are computed with where a policy is used otherwise.
namespace ulna::arithmetic {

/// Every convolution sums its products as its formula says. An output's bits depend on its window alone, so tiles of an
/// image overlap least.
struct Direct {
  using Footprint = WindowFootprint;
  using Tiles = Direct;
};

/// 3x3 convolutions of stride 1 between 16 or more channels, and their gradients, as Winograd's F(4x4, 3x3) in float:
/// two to three times as fast as direct ones of floats, with rounding errors about ten times as large (1e-6 to 1e-5 of
/// the values). An output's bits depend on its tile of 6 x 6 inputs: exact tiles of an image lie on a coarser grid and
/// overlap about twice as far.
///
/// With activations of bf16 it rounds less than Direct, whose weights are bf16 too, and is faster where the processor
/// has no AMX.
struct Winograd4 {
  using Footprint = ulna::winograd::Footprint<ulna::winograd::F4>;
  using Tiles = Winograd4;
  static constexpr bool by_extent = false;  ///< whether the extent of a map decides how it is computed
  template <class Isa, class T>
  static bool winograd(const Call<T>& call) {
    return ulna::winograd::chosen(call);
  }
};

/// The same, but maps of more than some 40 x 40 pixels by F(6x6, 3x3): faster by a fifth, with rounding errors twice as
/// large. Tiles of an image would have to overlap three times as far as direct ones, so exact tiles are Winograd4's.
struct Winograd : Winograd4 {
  static constexpr bool by_extent = true;
};

/// Direct products where AMX multiplies tiles of bf16, Winograd4 where not. The halo of exact tiles is Winograd4's on
/// either: a program's type does not depend on -march.
struct TilesOrWinograd4 : Winograd4 {
  using Tiles = TilesOrWinograd4;
  template <class Isa, class T>
  static bool winograd(const Call<T>& call) {
    constexpr bool tiles = Isa::pair_dot == PairDot::tiles || Isa::pair_dot == PairDot::emulated_tiles;
    return !tiles && ulna::winograd::chosen(call);
  }
};

/// Direct products where AMX multiplies tiles of bf16, Winograd where not.
struct TilesOrWinograd : TilesOrWinograd4 {
  static constexpr bool by_extent = true;
};

/// What `cpu::Tbb<T>` uses when nothing is said: the fastest.
template <class T>
using Default = std::conditional_t<std::is_same_v<T, bf16>, TilesOrWinograd, Winograd>;

}  // namespace ulna::arithmetic

namespace ulna::tbb_kernels {

/// Op::convolution and Op::transposed_convolution.
template <class Arithmetic, class Isa, class T>
void convolution_by(const Call<T>& call) {
  if constexpr (!std::is_same_v<Arithmetic, arithmetic::Direct>) {
    if (Arithmetic::template winograd<Isa>(call)) {
      if constexpr (Arithmetic::by_extent)
        if (winograd::larger_tiles_win(call.output.shape)) return winograd::convolution<Isa, T, winograd::F6>(call);
      return winograd::convolution<Isa, T, winograd::F4>(call);
    }
  }
  if constexpr (std::is_same_v<T, bf16>)
    pair_convolution<Isa>(call);
  else
    convolution<Isa>(call);
}
template <class Arithmetic, class Isa, class T>
std::size_t convolution_by_scratch_bytes(const Call<T>& call, int threads) {
  if constexpr (!std::is_same_v<Arithmetic, arithmetic::Direct>) {
    if (Arithmetic::template winograd<Isa>(call)) {
      if constexpr (Arithmetic::by_extent)
        if (winograd::larger_tiles_win(call.output.shape))
          return winograd::convolution_scratch_bytes<Isa, T, winograd::F6>(call, threads);
      return winograd::convolution_scratch_bytes<Isa, T, winograd::F4>(call, threads);
    }
  }
  if constexpr (std::is_same_v<T, bf16>)
    return pair_convolution_scratch_bytes<Isa>(call, threads);
  else
    return convolution_scratch_bytes<Isa>(call, threads);
}

/// Op::convolution_weight_gradient.
template <class Arithmetic, class Isa, class T>
void weight_gradient_by(const Call<T>& call) {
  if constexpr (!std::is_same_v<Arithmetic, arithmetic::Direct>)
    if (Arithmetic::template winograd<Isa>(call)) return winograd::weight_gradient<Isa>(call);
  if constexpr (std::is_same_v<T, bf16>)
    pair_weight_gradient<Isa>(call);
  else
    convolution_weight_gradient<Isa>(call);
}
template <class Arithmetic, class Isa, class T>
std::size_t weight_gradient_by_scratch_bytes(const Call<T>& call, int threads) {
  if constexpr (!std::is_same_v<Arithmetic, arithmetic::Direct>)
    if (Arithmetic::template winograd<Isa>(call)) return winograd::weight_gradient_scratch_bytes<Isa>(call, threads);
  if constexpr (std::is_same_v<T, bf16>)
    return pair_weight_gradient_scratch_bytes<Isa>(call, threads);
  else
    return convolution_weight_gradient_scratch_bytes<Isa>(call, threads);
}

}  // namespace ulna::tbb_kernels
