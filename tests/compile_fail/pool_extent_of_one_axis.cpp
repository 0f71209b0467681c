// SPDX-License-Identifier: MIT
// The height fits; the message must be about the width.
// expect: "UNet/encoder[0]/pool" "width 45 is not divisible by 2" "input width a multiple of 4: 44 or 48 instead of 45"
#include <ulna/model/unet.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int width = 44;
#else
constexpr int width = 45;
#endif

using Net = ulna::UNet<ulna::Width<8>, ulna::Depth<2>>;
static_assert(ulna::Program<Net, ulna::Image<1, 64, width>>::output_shape.width == width);
