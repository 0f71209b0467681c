// SPDX-License-Identifier: MIT
#include <ulna/model/attention_unet.hpp>

#include "networks.hpp"
#include "run.hpp"

std::vector<nuclei::Result> nuclei::attention_unet(const Data& data, const Options& options) {
  return run<ulna::AttentionUNet<ulna::Width<width>>>("attention_unet", data, options);
}
