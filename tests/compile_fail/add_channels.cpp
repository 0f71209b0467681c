// SPDX-License-Identifier: MIT
// A residual path must keep the channels.
// expect: "Network/layer[1]/residual" "add: inputs differ in channels, 12 against 8" "1x1 convolution"
#include <ulna/layer/conv.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int channels = 8;
#else
constexpr int channels = 12;
#endif

using Net = ulna::Sequential<ulna::Conv<8>, ulna::Residual<ulna::Conv<channels>>>;
static_assert(ulna::Program<Net, ulna::Image<1, 32, 32>>::classes == 8);
