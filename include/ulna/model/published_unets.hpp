// SPDX-License-Identifier: MIT
// The U-Net in the shapes in which it was published. Each is a UNet<> with its answers filled in; whatever is given as
// an argument comes first and wins: `PaperUNet<Width<16>>`.
#pragma once

#include "ulna/model/unet.hpp"

namespace ulna {

/// Ronneberger, Fischer and Brox 2015: valid convolutions with bias, no norm, 2x2 up-convolutions, cropped skips; 572 x
/// 572 pixels become 388 x 388. "Dropout at the end of the contracting path": the paper names no rate, and one half
/// stands here. 31,030,658 parameters from 1 channel to 2 classes.
template <Option... Changes>
using PaperUNet = UNet<Changes..., padding::Valid, norm::None, skip::ConcatUpFirst, Dropout<>>;

/// jvanvugt/pytorch-unet with its defaults: the paper's network without dropout, what comes up first in the
/// concatenation. With `padding::Same` it is that code's `padding=True`; code that pools by averaging is
/// `down::AveragePool`. Weights: weights/name_maps/jvanvugt.hpp.
template <Option... Changes>
using JvanvugtUNet = UNet<Changes..., padding::Valid, norm::None, skip::ConcatUpFirst>;

/// milesial/Pytorch-UNet, `bilinear=False`: batch norm after convolutions without bias, odd extents padded. 31,037,698
/// parameters from 3 channels. Older versions of that code keep the bias: `ConvBias<true>`. Weights:
/// weights/name_maps/milesial.hpp.
template <Option... Changes>
using MilesialUNet = UNet<Changes..., ConvBias<false>, odd::Pad>;

/// The same code's `bilinear=True`: bilinear upsampling between corner pixels, bottleneck and decoders half as wide.
/// 17,263,042 parameters from 3 channels. Exact tiling is impossible, because sampling positions depend on the extent.
template <Option... Changes>
using MilesialBilinearUNet = UNet<Changes..., ConvBias<false>, odd::Pad, up::Bilinear<>, Narrow>;

/// LeeJunHyun/Image_Segmentation's U_Net: batch norm after convolutions with bias; up by nearest neighbour, a 3x3
/// convolution, norm and ReLU; one logit. 34,527,041 parameters from 3 channels.
template <Option... Changes>
using LeeJunHyunUNet = UNet<Changes..., Classes<1>, ConvBias<true>, up::NearestBlock<>>;

/// The UNet of 4uiiurz1/pytorch-nested-unet: width 32, bilinear upsampling between corner pixels without a convolution
/// of its own, batch norm after convolutions with bias; one logit. 7,852,545 parameters from 3 channels.
template <Option... Changes>
using Uiiurz1UNet = UNet<Changes..., Classes<1>, Width<32>, ConvBias<true>, up::Bilinear<>>;

/// zhixuhao/unet (Keras): no norm, dropout at the two deepest levels; up by nearest neighbour, a 2x2 convolution and
/// ReLU; two channels and ReLU before the last convolution; one logit. 31,031,685 parameters from 1 channel.
template <Option... Changes>
using ZhixuhaoUNet = UNet<Changes..., Classes<1>, norm::None, Dropout<>,
                          up::NearestBlock<norm::None, activation::ReLU, 2>, head::TwoChannels>;

/// The U-Net that the authors of U-Net++ compare with, in their Keras code: width 32, no norm, dropout of one half
/// after every 3x3 convolution; one logit. 7,759,521 parameters from 1 channel.
template <Option... Changes>
using ZhouUNet = UNet<Changes..., Classes<1>, Width<32>, norm::None, skip::ConcatUpFirst, Blocks<DropoutConvBlock>>;

/// The same authors' wide U-Net, of about as many parameters as U-Net++: 9,282,246.
template <Option... Changes>
using WideUNet = ZhouUNet<Changes..., Widths<35, 70, 140, 280, 560>>;

}  // namespace ulna
