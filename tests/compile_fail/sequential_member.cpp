// SPDX-License-Identifier: MIT
// A member of Sequential that cannot lower itself is named, with its position.
// expect: "NotALayer" "this member of Sequential is not a layer" "ulna::Value lower(ulna::Builder&, ulna::Value)"
#include <ulna/layer/conv.hpp>
#include <ulna/program.hpp>

struct NotALayer {};

#ifdef ULNA_POSITIVE_CONTROL
using Second = ulna::Identity;
#else
using Second = NotALayer;
#endif

using Net = ulna::Sequential<ulna::Conv<8>, Second>;
static_assert(ulna::Program<Net, ulna::Image<1, 32, 32>>::classes == 8);
