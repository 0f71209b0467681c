// SPDX-License-Identifier: MIT
// R2U-Net (Alom et al., "Recurrent Residual Convolutional Neural Network based on U-Net (R2U-Net) for Medical Image
// Segmentation", 2018), its two halves, and its union with the Attention U-Net.
#pragma once

#include "ulna/block/r2_block.hpp"
#include "ulna/model/attention_unet.hpp"

namespace ulna {

/// R2 blocks as the blocks of a network: `UNet<R2Blocks<Steps<3>, recurrent::SeparateKernels>>`. Options (default
/// first):
///   Steps<2>
///   recurrent::SharedKernel | SeparateKernels
///   recurrent::StatisticsPerStep | SharedStatistics
///   shortcut::Add | None
template <Option... Options>
struct R2Blocks {
  using option = blocks_question;
  template <class S>
  using block = R2Block<S, Options...>;
};

/// A U-Net of recurrent residual blocks. Its options are those of UNet; what differs is the default:
///   R2Blocks<>           t = 2; one kernel for input and state, as in LeeJunHyun's R2U_Net; norm statistics of each
///                        step, unlike it. R2Blocks<recurrent::SharedStatistics> loads R2U_Net's weights
///                        (weights/name_maps/lee_jun_hyun.hpp).
///   up::NearestBlock<>   as R2U_Net has it, with the network's norm and activation.
///   ConvBias<true>       R2U_Net keeps biases in front of norms.
/// The paper's formulas: R2UNet<R2Blocks<recurrent::SeparateKernels>, norm::None, up::Transposed>. Its RU-Net and
/// ResU-Net: R2UNet<R2Blocks<shortcut::None>> and R2UNet<R2Blocks<Steps<0>>>.
template <Option... Options>
struct R2UNet
    : UNet<Options..., R2Blocks<>, up::NearestBlock<norm_of<Options...>, activation_of<Options...>>, ConvBias<true>> {
  static constexpr const char* name = "R2UNet";
};

/// R2 blocks and attention gates: no paper, but LeeJunHyun's R2AttU_Net, whose weights load with
/// R2Blocks<recurrent::SharedStatistics>. Options and defaults: those of AttentionUNet, and R2Blocks<>.
template <Option... Options>
struct R2AttUNet : AttentionUNet<Options..., R2Blocks<>> {
  static constexpr const char* name = "R2AttUNet";
};

}  // namespace ulna
