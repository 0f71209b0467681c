// SPDX-License-Identifier: MIT
// The networks of the golden files.
#pragma once

#include "ulna/model/attention_unet.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/trans_unet.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/program.hpp"

namespace golden {

using namespace ulna;

// unet_bn_transpose, unet_valid_nonorm (the 2015 U-Net), unet_bn_transpose_odd
using SameUNet = Program<UNet<Classes<2>, Width<4>, Depth<3>>, Image<1, 32, 48>>;
using ValidUNet =
    Program<UNet<Classes<2>, Width<6>, Depth<2>, padding::Valid, norm::None, skip::ConcatUpFirst>, Image<1, 60, 44>>;
using OddUNet = Program<UNet<Classes<2>, Width<4>, Depth<2>, odd::Pad>, Image<3, 37, 29>>;

// attention_unet
using GatedUNet = Program<AttentionUNet<Classes<2>, Width<4>, Depth<3>>, Image<3, 32, 48>>;

// r2unet, r2attunet_bce: those share norm statistics between steps
using RecurrentUNet =
    Program<R2UNet<Classes<2>, Width<4>, Depth<2>, R2Blocks<recurrent::SharedStatistics>>, Image<3, 48, 48>>;
using GatedRecurrentUNet =
    Program<R2AttUNet<Classes<1>, Width<6>, Depth<1>, R2Blocks<recurrent::SharedStatistics>>, Image<1, 32, 48>>;

// unetpp_ds, unetpp_transpose_nonorm
using SupervisedNet = UNetPlusPlus<Classes<3>, Widths<4, 6, 8, 10, 12>, ConvBias<true>, DeepSupervision<heads::Last>>;
using SupervisedUNetPlusPlus = Program<SupervisedNet, Image<1, 32, 48>>;
using PlainUNetPlusPlus =
    Program<UNetPlusPlus<Classes<2>, Widths<4, 8, 12>, norm::None, up::Transposed, skip::ConcatUpFirst>,
            Image<1, 32, 32>>;

// transunet, transunet_one_skip, transunet_patches, transunet_two_stages
using HybridTransUNet = Program<TransUNet<Classes<3>, Hidden<16>, Layers<2>, Heads<2>, Mlp<32>, Units<1, 1, 2>,
                                          Width<8>, Groups<4>, Bridge<16>, Decoder<16, 8, 8, 4>, dropout::None>,
                                Image<3, 32, 32>>;
using OneSkipTransUNet = Program<TransUNet<Classes<2>, Hidden<12>, Layers<1>, Heads<3>, Mlp<10>, Units<1, 1, 1>,
                                           Width<4>, Groups<2>, Bridge<6>, Decoder<8, 6, 4, 2>, Skips<1>>,
                                 Image<1, 32, 48>>;
using PatchesTransUNet = Program<
    TransUNet<Classes<2>, encoder::Patches<>, Hidden<12>, Layers<1>, Heads<3>, Mlp<10>, Bridge<6>, Decoder<8, 6, 4, 2>>,
    Image<1, 32, 48>>;
using TwoStagesTransUNet = Program<TransUNet<Classes<1>, Hidden<15>, Layers<2>, Heads<5>, Mlp<7>, Units<1, 2>, Width<3>,
                                             Groups<3>, Bridge<5>, Decoder<5, 3, 3>>,
                                   Image<3, 24, 8>>;

}  // namespace golden
