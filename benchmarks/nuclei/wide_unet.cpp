// SPDX-License-Identifier: MIT
// The wide U-Net: the published widths (35 ... 560), halved as the others are.
#include "networks.hpp"
#include "run.hpp"

std::vector<nuclei::Result> nuclei::wide_unet(const Data& data, const Options& options) {
  return run<ulna::UNet<ulna::Widths<18, 35, 70, 140, 280>>>("wide_unet", data, options);
}
