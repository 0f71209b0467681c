// SPDX-License-Identifier: MIT
// Names of parameters in golden files.
#pragma once

#include <string>

#include "ulna/weights/model_file.hpp"

namespace golden {

/// Golden U-Nets number levels from the top and decoder stages from the bottom.
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

/// level.1.node.2.conv1.weight -> node.1_2.conv1.weight, level.1.node.2.up.weight -> up.1_2.weight, head.4 -> head.3.
inline std::string unet_plus_plus_name(const std::string& name) {
  if (name.starts_with("head.")) {
    const bool numbered = name[5] >= '1' && name[5] <= '9';
    return numbered ? std::string("head.") + static_cast<char>(name[5] - 1) + name.substr(6)
                    : "head.0" + name.substr(4);
  }
  const std::string place = std::string(1, name[6]) + "_" + name[13];
  const std::string rest = name.substr(14);
  return rest.starts_with(".up.") ? "up." + place + rest.substr(3) : "node." + place + rest;
}

/// Golden TransUNets number decoder steps from the bottom.
template <int Steps = 4>
std::string trans_unet_name(std::string name) {
  const auto replace = [&name](const std::string& from, const std::string& to) {
    if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
  };
  if (name.starts_with("decoder."))
    return "dec." + std::to_string('0' + Steps - 1 - name[8]) + ".block" + name.substr(9);
  replace("stem.conv", "stem");
  replace("stem.norm", "stem_norm");
  replace(".unit", "");
  replace("projection.conv", "proj");
  replace("projection.norm", "norm_proj");
  replace("patches.conv", "patch");
  replace("patches.position", "pos");
  replace("transformer.layer", "layers");
  replace("transformer.norm", "norm");
  replace("attention", "attn");
  replace("mlp.", "");
  replace("bridge.", "bridge_");
  return name;
}

}  // namespace golden
