// SPDX-License-Identifier: MIT
// Names of U-Nets' parameters in golden files, which number levels from the top and decoder stages from the bottom.
#pragma once

#include <string>

#include "ulna/weights/model_file.hpp"

namespace golden {

inline ulna::NameMap unet_names(int depth) {
  return [depth](const std::string& name) -> std::string {
    if (name.starts_with("bottleneck.")) return "enc." + std::to_string(depth) + name.substr(10);
    if (name.starts_with("encoder.")) return "enc" + name.substr(7);
    if (!name.starts_with("decoder.")) return name;
    const int level = name[8] - '0';
    const std::string rest = name.substr(9);
    const bool of_block = !rest.starts_with(".up.") && !rest.starts_with(".gate.");
    return "dec." + std::to_string(depth - 1 - level) + (of_block ? ".block" : "") + rest;
  };
}

}  // namespace golden
