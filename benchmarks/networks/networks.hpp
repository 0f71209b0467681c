// SPDX-License-Identifier: MIT
// The networks that benchmarks/run.sh compares with other frameworks. benchmarks/peers/networks.py has the same in
// PyTorch; each is what a popular implementation of it computes.
#pragma once

#include <cstddef>
#include <ulna/model/r2_unet.hpp>
#include <ulna/model/trans_unet.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/model/unet_plus_plus.hpp>
#include <ulna/program.hpp>
#include <ulna/train/loss.hpp>

namespace networks {

/// Width 64 at 512 x 512. Inference keeps the pages of some weights and gives back those of others once they were read.
struct unet {
  static constexpr std::size_t resident_weights = 24'000'000;  ///< bytes
  using Program = ulna::Program<ulna::UNet<>, ulna::Image<1, 512, 512>>;
  using Loss = ulna::CrossEntropy;
};

/// Widths 32 to 512, one head.
struct unet_plus_plus {
  using Program = ulna::Program<ulna::UNetPlusPlus<ulna::Classes<1>, ulna::ConvBias<true>>, ulna::Image<3, 256, 256>>;
  using Loss = ulna::BinaryCrossEntropy;
};

/// Width 64, t = 2.
struct r2unet {
  using Program = ulna::Program<ulna::R2UNet<ulna::Classes<1>, ulna::R2Blocks<ulna::recurrent::SharedStatistics>>,
                                ulna::Image<3, 256, 256>>;
  using Loss = ulna::BinaryCrossEntropy;
};

/// Width 64, gates at the skips' own resolution.
struct attention_unet {
  using Program = ulna::Program<ulna::AttentionUNet<ulna::Classes<1>>, ulna::Image<3, 256, 256>>;
  using Loss = ulna::BinaryCrossEntropy;
};

/// R50-ViT-B/16. Without dropout, whose random numbers would keep the outputs of training from being compared.
struct trans_unet {
  static constexpr std::size_t resident_weights = 350'000'000;
  using Program = ulna::Program<ulna::TransUNet<ulna::dropout::None>, ulna::Image<3, 224, 224>>;
  using Loss = ulna::CrossEntropy;
};

}  // namespace networks
