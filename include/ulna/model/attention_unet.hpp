// SPDX-License-Identifier: MIT
// Attention U-Net (Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018).
#pragma once

#include "ulna/model/unet.hpp"

namespace ulna {

/// A U-Net whose skips pass through attention gates. Its options are those of UNet; what differs is the default:
///   gate::Popular<>      the gate of LeeJunHyun's AttU_Net, on all skips. gate::Grid<> is the authors' own: strided to
///                        the coarser grid, resampled, the finest skip ungated.
///   up::NearestBlock<>   as AttU_Net has it, with the network's norm and activation. The authors interpolate:
///                        up::Bilinear<false>.
///   ConvBias<true>       AttU_Net keeps biases in front of norms.
/// With these defaults AttU_Net's weights load (weights/name_maps/lee_jun_hyun.hpp). Of the paper it lacks volumes, the
/// heads at every level, and gates that start open. Attention maps: Predictor::published("decoder[0]/gate/attention").
template <Option... Options>
struct AttentionUNet : UNet<Options..., gate::Popular<gate::inner::Half, norm_of<Options...>>,
                            up::NearestBlock<norm_of<Options...>, activation_of<Options...>>, ConvBias<true>> {
  static constexpr const char* name = "AttentionUNet";
};

}  // namespace ulna
