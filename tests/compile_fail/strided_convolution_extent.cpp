// SPDX-License-Identifier: MIT
// Padded convolutions with a stride obey the rule of pools.
// expect: "UNet/encoder[1]/down" "height 25 is not divisible by 2" "multiple of 4: 48 or 52 instead of 50"
#include <ulna/model/unet.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int extent = 52;
#else
constexpr int extent = 50;
#endif

using Net = ulna::UNet<ulna::Width<8>, ulna::Depth<2>, ulna::down::StridedConv>;
static_assert(ulna::Program<Net, ulna::Image<1, extent, extent>>::classes == 2);
