// SPDX-License-Identifier: MIT
// The networks that are compared; each is compiled in a file of its own.
#pragma once

#include "recipe.hpp"

namespace nuclei {

using Experiment = std::vector<Result> (*)(const Data&, const Options&);

std::vector<Result> unet(const Data& data, const Options& options);
std::vector<Result> wide_unet(const Data& data, const Options& options);
std::vector<Result> unet_plus_plus(const Data& data, const Options& options);
std::vector<Result> fcn8s(const Data& data, const Options& options);
std::vector<Result> r2unet(const Data& data, const Options& options);
std::vector<Result> attention_unet(const Data& data, const Options& options);

struct Entry {
  const char* name;
  Experiment run;
};
inline constexpr Entry networks[] = {
    {"unet", unet},   {"wide_unet", wide_unet}, {"unet++", unet_plus_plus},
    {"fcn8s", fcn8s}, {"r2unet", r2unet},       {"attention_unet", attention_unet},
};

}  // namespace nuclei
