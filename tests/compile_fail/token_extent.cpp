// SPDX-License-Identifier: MIT
// 230 pixels make no whole number of tokens of 16.
// expect: "TransUNet/trunk" "height 230 is not divisible into tokens of 16 pixels" "multiple of 16: 224 or 240 instead
// of 230"
#include <ulna/model/trans_unet.hpp>
#include <ulna/ulna.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int extent = 224;
#else
constexpr int extent = 230;
#endif

static_assert(ulna::Program<ulna::TransUNet<>, ulna::Image<1, extent, extent>>::classes == 9);
