// SPDX-License-Identifier: MIT
#include <ulna/model/r2_unet.hpp>

#include "networks.hpp"
#include "run.hpp"

std::vector<nuclei::Result> nuclei::r2unet(const Data& data, const Options& options) {
  return run<ulna::R2UNet<ulna::Width<width>>>("r2unet", data, options);
}
