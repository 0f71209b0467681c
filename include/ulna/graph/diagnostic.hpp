// SPDX-License-Identifier: MIT
// How a network that does not fit its input becomes a compile error that can be read.
//
// Lowering never throws: the first broken rule is recorded as a value, lowering goes on with a plausible shape, and the
// program then instantiates the template of that rule, with the whole sentence and the numbers as arguments. GCC prints
// the sentence; clang, which would cut an array short, prints it letter by letter, and the rule's text and numbers in
// its static_assert.
#pragma once

#include <cstddef>
#include <utility>

#include "ulna/graph/fixed_vector.hpp"

namespace ulna {

/// Text that can be a template argument.
template <std::size_t Size>
struct Text {
  char text[Size]{};
  constexpr bool operator==(const Text&) const = default;
};

/// Text as a type.
template <Text>
struct Said {};

/// The same for compilers that print arrays of characters as numbers.
template <char...>
struct Letters {};

/// Text under construction in a constant expression. What exceeds the capacity is left out.
struct Sentence : FixedVector<char, 360> {
  constexpr void put(char c) {
    if (count < capacity - 1) push_back(c);
  }
  constexpr Sentence& operator<<(const char* words) {
    for (; *words != '\0'; ++words) put(*words);
    return *this;
  }
  constexpr Sentence& operator<<(int number) {
    if (number < 0) {
      *this << "-";
      number = -number;
    }
    char digits[12]{};
    int n = 0;
    do digits[n++] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    while (n > 0) put(digits[--n]);
    return *this;
  }
  constexpr Sentence& operator<<(const Sentence& other) {
    for (const char c : other) put(c);
    return *this;
  }
};

/// The rules a network can break. One template in `rule` for each.
enum class RuleKind : unsigned char {
  none,
  extent_must_divide,
  kernel_must_fit,
  extents_must_match,
  channels_must_match,
  channels_must_divide,
  parameters_must_match,
  value_must_be_positive,
  depth_must_exist
};

/// The first broken rule of a lowering.
struct Diagnostic {
  RuleKind rule = RuleKind::none;
  int found = 0;
  int required = 0;
  bool remedy_is_input_extent = false;  ///< another input extent would satisfy the rule
  Sentence sentence{};                  ///< path, what was found, what is required

  constexpr explicit operator bool() const { return rule != RuleKind::none; }
};

/// Each template is instantiated only for a broken rule: its assertion fails, and compilers print the comparison with
/// numbers.
namespace rule {

template <class Sentence, int found, int required>
struct extent_must_divide {
  static_assert(found % required == 0,
                "Ulna: an extent is not divisible by the stride that halves it; the sentence in the template "
                "argument names the layer and the input extents that fit");
};
template <class Sentence, int found, int required>
struct kernel_must_fit {
  static_assert(required <= found,
                "Ulna: a kernel is larger than its padded input; the sentence in the template argument names the layer "
                "and the remedy");
};
template <class Sentence, int found, int required>
struct extents_must_match {
  static_assert(found == required,
                "Ulna: inputs that are joined differ in extent; the sentence in the template argument names the layer "
                "and the remedy");
};
template <class Sentence, int found, int required>
struct channels_must_match {
  static_assert(found == required,
                "Ulna: channel counts differ; the sentence in the template argument names the layer and the remedy");
};
template <class Sentence, int found, int required>
struct channels_must_divide {
  static_assert(found % required == 0,
                "Ulna: channels cannot be split into equal groups; the sentence in the template argument names the "
                "layer and the remedy");
};
template <class Sentence, int found, int required>
struct parameters_must_match {
  static_assert(found == required,
                "Ulna: the model was made for another input extent, and a parameter depends on it; the sentence in the "
                "template argument names it and the remedy");
};
template <class Sentence, int found, int required>
struct value_must_be_positive {
  static_assert(found >= required, "Ulna: a size is too small; the sentence in the template argument names the layer");
};
template <class Sentence, int found, int deepest>
struct depth_must_exist {
  static_assert(found >= 1,
                "Ulna: there is no such depth; the sentence in the template argument names those there are");
  static_assert(found <= deepest,
                "Ulna: there is no such depth; the sentence in the template argument names those there are");
};

}  // namespace rule

template <const Diagnostic& D, std::size_t... I>
constexpr auto printable(std::index_sequence<I...>) {
#if defined(__clang__)
  return Letters<D.sentence.values[I]...>{};
#else
  return Said<Text<sizeof...(I) + 1>{{D.sentence.values[I]..., '\0'}}>{};
#endif
}

/// Instantiates the template of D's rule, which fails to compile; does nothing when no rule is broken.
template <const Diagnostic& D>
constexpr bool enforce() {
  if constexpr (D.rule != RuleKind::none) {
    using Words = decltype(printable<D>(std::make_index_sequence<static_cast<std::size_t>(D.sentence.count)>{}));
    if constexpr (D.rule == RuleKind::extent_must_divide)
      return sizeof(rule::extent_must_divide<Words, D.found, D.required>) == 1;
    else if constexpr (D.rule == RuleKind::kernel_must_fit)
      return sizeof(rule::kernel_must_fit<Words, D.found, D.required>) == 1;
    else if constexpr (D.rule == RuleKind::extents_must_match)
      return sizeof(rule::extents_must_match<Words, D.found, D.required>) == 1;
    else if constexpr (D.rule == RuleKind::channels_must_match)
      return sizeof(rule::channels_must_match<Words, D.found, D.required>) == 1;
    else if constexpr (D.rule == RuleKind::channels_must_divide)
      return sizeof(rule::channels_must_divide<Words, D.found, D.required>) == 1;
    else if constexpr (D.rule == RuleKind::parameters_must_match)
      return sizeof(rule::parameters_must_match<Words, D.found, D.required>) == 1;
    else if constexpr (D.rule == RuleKind::depth_must_exist)
      return sizeof(rule::depth_must_exist<Words, D.found, D.required>) == 1;
    else
      return sizeof(rule::value_must_be_positive<Words, D.found, D.required>) == 1;
  }
  return true;
}

}  // namespace ulna
