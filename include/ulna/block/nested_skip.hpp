// SPDX-License-Identifier: MIT
// A node of the dense skips of U-Net++ (Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image
// Segmentation", DLMIA 2018).
#pragma once

#include <span>

#include "ulna/block/attn_gate.hpp"
#include "ulna/block/skip.hpp"
#include "ulna/layer/resample.hpp"
#include "ulna/model/options.hpp"

namespace ulna {

/// x(i, j) = H([x(i, 0), ..., x(i, j - 1), up(x(i + 1, j - 1))]) for j > 0, i the level and j the place in its row.
///   H      a block                                Join   a policy of block/skip.hpp: how the list becomes one value
///   Up     a policy of layer/resample.hpp         Gate   applied to each member of the row, given what comes up
///   Odd    a policy of model/options.hpp
/// Module path within the node's scope: up, skip[0..j-1] (gates), and the names of H.
template <Block H, class Up, class Join, class Gate = gate::None, class Odd = odd::Refuse>
struct NestedSkip {
  /// `row`: x(level, 0..j-1); `below`: x(level + 1, j - 1), of half the extent.
  static constexpr Value lower(Builder& b, std::span<const Value> row, Value below, int level, int channels) {
    Value up = Up::lower(b, below, channels);
    if (Odd::pads) up = skip::padded(b, up, b.shape(row[0]).extent());
    FixedVector<Value, 8> skips;
    for (const Value x : row) {
      const auto s = b.scope("skip", skips.size());
      skips.push_back(Gate::lower(b, x, up, below, level));
    }
    return H::lower(b, Join::join(b, up, std::span<const Value>(skips.begin(), skips.end())), channels);
  }
};

}  // namespace ulna
