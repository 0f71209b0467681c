// SPDX-License-Identifier: MIT
#include <ulna/model/trans_unet.hpp>

#include "recipe.hpp"

namespace {
/// About as costly as the U-Net it is compared with.
using Net = ulna::TransUNet<ulna::Classes<acdc::classes>, ulna::Width<16>, ulna::Groups<8>, ulna::Units<1, 1, 2>,
                            ulna::Hidden<128>, ulna::Layers<4>, ulna::Heads<4>, ulna::Mlp<512>, ulna::Bridge<128>,
                            ulna::Decoder<128, 64, 32, 16>>;
}  // namespace

acdc::Result acdc::trans_unet(const Data& data, const Options& options) {
  return run<Net>("trans_unet", data, options);
}
