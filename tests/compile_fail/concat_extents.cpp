// SPDX-License-Identifier: MIT
// A branch without padding is smaller than its neighbour.
// expect: "Network/layer[1]/concat" "concat: inputs differ in height, 32 against 28" "crop or resample one of them"
#include <ulna/layer/conv.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Padding = ulna::padding::Same;
#else
using Padding = ulna::padding::Valid;
#endif

using Branches = ulna::Concat<ulna::Conv<4>, ulna::Conv<4, 5, 1, Padding>>;
using Net = ulna::Sequential<ulna::Conv<8>, Branches>;
static_assert(ulna::Program<Net, ulna::Image<1, 32, 32>>::classes == 8);
