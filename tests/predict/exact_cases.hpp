// SPDX-License-Identifier: MIT
// The networks, tiles and images on which every backend must segment exactly.
#pragma once

#include "check_exact.hpp"
#include "ulna/model/unet.hpp"

namespace ulna::testing {

template <int D, class... More>
using Net = UNet<Width<4>, Depth<D>, More...>;

template <class B>
void check_depth_one(B backend = {}) {
  check_exact<B, Net<1>, 24, 24, 64, 48>(backend);  // multiples of 16
  check_exact<B, Net<1>, 24, 20, 37, 41>(backend);  // nothing divides these
  check_exact<B, Net<1>, 32, 18, 33, 9>(backend);   // one axis smaller than a tile
  check_exact<B, Net<1>, 40, 40, 64, 48>(backend);
}

template <class B>
void check_deeper(B backend = {}) {
  check_exact<B, Net<2>, 64, 52, 80, 96>(backend);
  check_exact<B, Net<2>, 56, 64, 97, 70, 3>(backend);
  check_exact<B, Net<3>, 112, 104, 130, 128>(backend);
}

template <class B>
void check_paddings(B backend = {}) {
  using Valid = Net<2, padding::Valid, norm::None, skip::ConcatUpFirst>;
  check_exact<B, Valid, 60, 44, 48, 32>(backend);
  check_exact<B, Valid, 52, 60, 51, 29>(backend);
  check_exact<B, Net<1, padding::Reflect>, 24, 28, 45, 48>(backend);
  check_exact<B, Net<2, padding::Reflect, skip::Sum>, 56, 52, 71, 64>(backend);
}

template <class B>
void check_ways(B backend = {}) {
  check_exact<B, Net<1, up::BilinearConv<>, down::StridedConv>, 32, 32, 61, 40>(backend);
  check_exact<B, Net<1, up::NearestConv<2>, down::AveragePool, activation::Sigmoid>, 28, 32, 50, 33>(backend);
  check_exact<B, UNet<Width<17>, Depth<1>, Classes<3>, activation::LeakyReLU<>>, 24, 26, 43, 31, 2>(backend);
}

/// Wide enough for convolutions that compute outputs in blocks.
template <class B>
void check_wide(B backend = {}) {
  using Valid = UNet<Width<16>, Depth<1>, padding::Valid, norm::None>;
  check_exact<B, UNet<Width<16>, Depth<1>>, 64, 56, 77, 90>(backend);
  check_exact<B, UNet<Width<16>, Depth<2>>, 112, 128, 150, 133>(backend);
  check_exact<B, Valid, 76, 60, 70, 81>(backend);
}

}  // namespace ulna::testing
