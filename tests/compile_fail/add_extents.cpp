// SPDX-License-Identifier: MIT
// A residual path must keep the extent.
// expect: "Network/residual" "add: inputs differ in height, 30 against 32" "crop or resample one of them"
#include <ulna/layer/conv.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Padding = ulna::padding::Same;
#else
using Padding = ulna::padding::Valid;
#endif

using Net = ulna::Residual<ulna::Conv<1, 3, 1, Padding>>;
static_assert(ulna::Program<Net, ulna::Image<1, 32, 32>>::classes == 1);
