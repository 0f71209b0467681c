// SPDX-License-Identifier: MIT
// A network of depth 4 has heads at depths 1 to 4.
// expect: "UNetPlusPlus: pruned to depth 5" "heads at depths 1 to 4" "5 <= 4"
#include <ulna/model/unet_plus_plus.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int depth = 4;
#else
constexpr int depth = 5;
#endif

using Net = ulna::UNetPlusPlus<ulna::Width<8>, ulna::DeepSupervision<>>;
static_assert(ulna::Program<ulna::prune<depth, Net>, ulna::Image<1, 32, 32>>::classes == 2);
