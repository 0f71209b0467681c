// SPDX-License-Identifier: MIT
// Parameter names of Beckschen/TransUNet (networks/vit_seg_modeling.py, vit_seg_modeling_resnet_skip.py).
#pragma once

#include <string>
#include <string_view>

#include "ulna/weights/model_file.hpp"

namespace ulna::name_maps {

namespace detail {

/// A module and what stands for it there.
struct BeckschenModule {
  std::string_view ours;
  std::string_view theirs;
};

inline constexpr BeckschenModule beckschen_modules[] = {
    {"trunk.stem.conv.", "transformer.embeddings.hybrid_model.root.conv."},
    {"trunk.stem.norm.", "transformer.embeddings.hybrid_model.root.gn."},
    {"patches.conv.", "transformer.embeddings.patch_embeddings."},
    {"patches.position", "transformer.embeddings.position_embeddings"},
    {"transformer.norm.", "transformer.encoder.encoder_norm."},
    {"bridge.conv.", "decoder.conv_more.0."},
    {"bridge.norm.", "decoder.conv_more.1."},
    {"head.", "segmentation_head.0."},
};

/// In a bottleneck block.
inline constexpr BeckschenModule beckschen_unit[] = {
    {"norm1.", "gn1."},
    {"norm2.", "gn2."},
    {"norm3.", "gn3."},
    {"projection.conv.", "downsample."},
    {"projection.norm.", "gn_proj."},
};

/// In a layer of the transformer.
inline constexpr BeckschenModule beckschen_layer[] = {
    {"norm1.", "attention_norm."},
    {"norm2.", "ffn_norm."},
    {"attention.", "attn."},
    {"mlp.", "ffn."},
};

/// In a step of the decoder.
inline constexpr BeckschenModule beckschen_step[] = {
    {"conv1.", "conv1.0."},
    {"norm1.", "conv1.1."},
    {"conv2.", "conv2.0."},
    {"norm2.", "conv2.1."},
};

/// `name` with the module at its beginning renamed; as it is where the table has none.
inline std::string renamed(std::string_view name, std::span<const BeckschenModule> table) {
  for (const BeckschenModule& m : table)
    if (name.starts_with(m.ours)) return std::string(m.theirs) + std::string(name.substr(m.ours.size()));
  return std::string(name);
}

/// The number at the beginning of `name`, which loses it and the dot behind.
inline int take_number(std::string_view& name) {
  int number = 0;
  while (!name.empty() && name.front() != '.') {
    number = 10 * number + (name.front() - '0');
    name.remove_prefix(1);
  }
  if (!name.empty()) name.remove_prefix(1);
  return number;
}

/// Whether `name` begins with `prefix`, which it then loses.
inline bool take(std::string_view& name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  return true;
}

}  // namespace detail

/// For VisionTransformer: TransUNet<> is its R50-ViT-B_16, TransUNetL16<> its R50-ViT-L_16, with Classes as trained,
/// and TransUNet<encoder::Patches<>> its ViT-B_16. `steps`: how many steps the decoder has. Its name for a bottleneck
/// block counts from 1. A checkpoint for another extent: weights/position_embedding.hpp. Names without a counterpart
/// stay as they are.
inline NameMap beckschen(int steps = 4) {
  return [steps](const std::string& ours) -> std::string {
    std::string_view rest = ours;
    if (detail::take(rest, "trunk.stage.")) {
      const int stage = detail::take_number(rest);
      detail::take(rest, "unit.");
      const int unit = detail::take_number(rest);
      return "transformer.embeddings.hybrid_model.body.block" + std::to_string(stage + 1) + ".unit" +
             std::to_string(unit + 1) + "." + detail::renamed(rest, detail::beckschen_unit);
    }
    if (detail::take(rest, "transformer.layer.")) {
      const int layer = detail::take_number(rest);
      return "transformer.encoder.layer." + std::to_string(layer) + "." +
             detail::renamed(rest, detail::beckschen_layer);
    }
    if (detail::take(rest, "decoder.")) {
      const int level = detail::take_number(rest);  // theirs count from the deepest
      return "decoder.blocks." + std::to_string(steps - 1 - level) + "." +
             detail::renamed(rest, detail::beckschen_step);
    }
    return detail::renamed(rest, detail::beckschen_modules);
  };
}

}  // namespace ulna::name_maps
