// SPDX-License-Identifier: MIT
#include "networks.hpp"
#include "run.hpp"

std::vector<nuclei::Result> nuclei::unet(const Data& data, const Options& options) {
  return run<ulna::UNet<ulna::Width<width>>>("unet", data, options);
}
