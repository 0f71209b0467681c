// SPDX-License-Identifier: MIT
// One training with deep supervision; then the mean of the heads, and each depth it can be pruned to.
#include <ulna/model/unet_plus_plus.hpp>

#include "networks.hpp"
#include "run.hpp"

namespace {

/// The network cut down to depth L, with the whole's weights.
template <int L, class Net, class Whole>
nuclei::Result pruned(const Whole& whole, const nuclei::Data& data) {
  using Part = ulna::prune<L, Net>;
  ulna::Model<ulna::Program<Part, ulna::Image<1, nuclei::crop, nuclei::crop>>> part;
  for (const ulna::Parameter& p : part.graph().parameters)
    for (const ulna::Parameter& q : whole.graph().parameters)
      if (ulna::name_of(part.graph(), p) == ulna::name_of(whole.graph(), q))
        std::ranges::copy(whole.values(q), part.mutable_values(p).begin());
  return nuclei::score<Part>("unet++ pruned to " + std::to_string(L), part, data);
}

}  // namespace

std::vector<nuclei::Result> nuclei::unet_plus_plus(const Data& data, const Options& options) {
  using Net = ulna::UNetPlusPlus<ulna::Width<width>, ulna::DeepSupervision<>>;
  double seconds = 0.0;
  auto model = train<Net>("unet++", data, options, seconds);
  std::vector<Result> results{score<Net>("unet++", model, data), pruned<1, Net>(model, data),
                              pruned<2, Net>(model, data), pruned<3, Net>(model, data), pruned<4, Net>(model, data)};
  for (Result& r : results) r.training_seconds = seconds;
  return results;
}
