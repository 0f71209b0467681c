// SPDX-License-Identifier: MIT
// The networks that are compared; each is compiled in a file of its own.
#pragma once

#include "recipe.hpp"

namespace nuclei {

using Experiment = std::vector<Result> (*)(const Data&, const Options&);

std::vector<Result> unet(const Data& data, const Options& options);

struct Entry {
  const char* name;
  Experiment run;
};
inline constexpr Entry networks[] = {
    {"unet", unet},
};

}  // namespace nuclei
