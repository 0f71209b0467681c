// SPDX-License-Identifier: MIT
// Parameter names of LeeJunHyun/Image_Segmentation (network.py).
#pragma once

#include <string>
#include <string_view>

#include "ulna/weights/model_file.hpp"
#include "ulna/weights/name_maps/unet_name.hpp"

namespace ulna::name_maps {

namespace detail {

/// A layer inside an encoder or decoder stage.
struct LeeJunHyunLayer {
  std::string_view ours;
  std::string_view encoder;  ///< their module in the encoder and the bottleneck, without its number
  std::string_view decoder;  ///< their module in the decoder
  std::string_view theirs;   ///< their layer in that module; activations are numbered, too
};

inline constexpr LeeJunHyunLayer lee_jun_hyun_layers[] = {
    {"conv1.", "Conv", "Up_conv", "conv.0."},
    {"norm1.", "Conv", "Up_conv", "conv.1."},
    {"conv2.", "Conv", "Up_conv", "conv.3."},
    {"norm2.", "Conv", "Up_conv", "conv.4."},
    {"rec1.conv.", "RRCNN", "Up_RRCNN", "RCNN.0.conv.0."},
    {"rec1.norm.", "RRCNN", "Up_RRCNN", "RCNN.0.conv.1."},
    {"rec2.conv.", "RRCNN", "Up_RRCNN", "RCNN.1.conv.0."},
    {"rec2.norm.", "RRCNN", "Up_RRCNN", "RCNN.1.conv.1."},
    {"proj.", "RRCNN", "Up_RRCNN", "Conv_1x1."},
    {"up.conv.", "", "Up", "up.1."},
    {"up.norm.", "", "Up", "up.2."},
    {"gate.g_conv.", "", "Att", "W_g.0."},
    {"gate.g_norm.", "", "Att", "W_g.1."},
    {"gate.x_conv.", "", "Att", "W_x.0."},
    {"gate.x_norm.", "", "Att", "W_x.1."},
    {"gate.psi_conv.", "", "Att", "psi.0."},
    {"gate.psi_norm.", "", "Att", "psi.1."},
};

}  // namespace detail

/// For U_Net, AttU_Net, R2U_Net and R2AttU_Net, which are
///   UNet<Classes<1>, up::NearestBlock<>, ConvBias<true>>
///   AttentionUNet<Classes<1>>
///   R2UNet<Classes<1>, R2Blocks<recurrent::SharedStatistics>>
///   R2AttUNet<Classes<1>, R2Blocks<recurrent::SharedStatistics>>
/// at depth 4. Their weights are the same for every t. Names without a counterpart stay as they are.
inline NameMap lee_jun_hyun(int depth = 4) {
  return [depth](const std::string& name) -> std::string {
    using Part = detail::UNetName::Part;
    const auto n = detail::unet_name(name, depth);
    if (n.part == Part::head) return "Conv_1x1." + n.rest;
    // Encoder modules count from 1, the finest. Decoder modules have the number of the encoder they come up from.
    const bool in_decoder = n.part == Part::decoder;
    const int number = n.level + (in_decoder ? 2 : 1);
    for (const auto& layer : detail::lee_jun_hyun_layers)
      if (n.rest.starts_with(layer.ours))
        return std::string(in_decoder ? layer.decoder : layer.encoder) + std::to_string(number) + "." +
               std::string(layer.theirs) + n.rest.substr(layer.ours.size());
    return name;
  };
}

}  // namespace ulna::name_maps
