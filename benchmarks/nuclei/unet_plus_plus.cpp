// SPDX-License-Identifier: MIT
// One training with deep supervision; then the mean of the heads, and each depth it can be pruned to.
#include <ulna/model/unet_plus_plus.hpp>

#include "networks.hpp"
#include "run.hpp"

std::vector<nuclei::Result> nuclei::unet_plus_plus(const Data& data, const Options& options) {
  using Net = ulna::UNetPlusPlus<ulna::Width<width>, ulna::DeepSupervision<>>;
  double seconds = 0.0;
  auto model = train<Net>("unet++", data, options, seconds);
  std::vector<Result> results{score<Net>("unet++", model, data),
                              score<ulna::prune<1, Net>>("unet++ pruned to 1", model, data),
                              score<ulna::prune<2, Net>>("unet++ pruned to 2", model, data),
                              score<ulna::prune<3, Net>>("unet++ pruned to 3", model, data),
                              score<ulna::prune<4, Net>>("unet++ pruned to 4", model, data)};
  for (Result& r : results) r.training_seconds = seconds;
  return results;
}
