// SPDX-License-Identifier: MIT
#include "recipe.hpp"

acdc::Result acdc::unet(const Data& data, const Options& options) {
  return run<ulna::UNet<ulna::Classes<classes>, ulna::Width<16>>>("unet", data, options);
}
