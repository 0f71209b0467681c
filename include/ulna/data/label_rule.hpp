// SPDX-License-Identifier: MIT
// What the values of a mask mean.
#pragma once

#include <algorithm>
#include <string>

#include "ulna/data/image.hpp"

namespace ulna {

/// How mask values become class indices.
enum class LabelRule {
  indices,   ///< the value is the class index and must be below the number of classes
  binary,    ///< two classes: 0 is class 0, everything else class 1
  automatic  ///< two classes and no values but 0 and 255: binary; anything else: indices
};

/// Turns the values of a mask into class indices, in place.
/// `invert` exchanges the two classes, for masks in which 0 marks what is looked for (the membranes of ISBI-2012).
/// Throws DataError, naming `name`, the pixel, its value and the values allowed, when a value is no class index;
/// ArgumentError when the rule does not go with the number of classes.
inline void apply_label_rule(LabelArray& labels, LabelRule rule, int classes, bool invert, const std::string& name) {
  if (classes < 2 || classes > 256) {
    throw ArgumentError("a mask of " + std::to_string(classes) + " classes was asked for; 2 to 256 are possible");
  }
  if (classes != 2 && (invert || rule == LabelRule::binary)) {
    throw ArgumentError("binary and inverted masks have 2 classes, but " + std::to_string(classes) + " were asked for");
  }
  std::uint8_t* const begin = labels.data();
  std::uint8_t* const end = begin + labels.size();
  const bool black_and_white = classes == 2 && std::all_of(begin, end, [](int v) { return v == 0 || v == 255; });
  if (rule == LabelRule::binary || (rule == LabelRule::automatic && black_and_white)) {
    std::for_each(begin, end, [](std::uint8_t& v) { v = v != 0 ? 1 : 0; });
  }
  const auto* bad = std::find_if(begin, end, [classes](int v) { return v >= classes; });
  if (bad != end) {
    const auto at = static_cast<std::size_t>(bad - begin);
    throw DataError("mask '" + name + "': pixel (row " + std::to_string(at / labels.shape(1)) + ", column " +
                    std::to_string(at % labels.shape(1)) + ") has value " + std::to_string(int{*bad}) +
                    "; class indices are 0.." + std::to_string(classes - 1) +
                    (classes == 2 ? ", a binary mask has 0 and 255 only" : ""));
  }
  if (invert) std::for_each(begin, end, [](std::uint8_t& v) { v = v == 0 ? 1 : 0; });
}

}  // namespace ulna
