// SPDX-License-Identifier: MIT
// The paper's U-Net eats its image up before it reaches the bottleneck: 60 -> 56 -> 28 -> 24 -> 12 -> 8 -> 4 -> 0.
// expect: "UNet/encoder[3]/conv2" "the kernel spans 3 pixels but the padded height is 2" "a larger input"
#include <ulna/model/unet.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int extent = 188;
#else
constexpr int extent = 60;
#endif

using Net = ulna::UNet<ulna::Width<8>, ulna::padding::Valid>;
static_assert(ulna::Program<Net, ulna::Image<1, extent, extent>>::classes == 2);
