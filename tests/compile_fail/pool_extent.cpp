// SPDX-License-Identifier: MIT
// 1000 halves to 500, 250, 125, and no further. Includes everything, as most users do.
// expect: "UNet/encoder[3]/pool" "height 125 is not divisible by 2" "multiple of 16: 992 or 1008 instead of 1000"
#include <ulna/ulna.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int extent = 1008;
#else
constexpr int extent = 1000;
#endif

static_assert(ulna::Program<ulna::UNet<ulna::Width<8>>, ulna::Image<1, extent, extent>>::classes == 2);
