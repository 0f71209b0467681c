// SPDX-License-Identifier: MIT
// Named template options: `UNet<Classes<2>, Width<32>, padding::Valid>`, in any order, each with a default.
#pragma once

#include <ratio>
#include <type_traits>

namespace ulna {

/// An option declares which question it answers: `using option = some_question;`.
template <class T>
concept Option = requires {
  typename T::option;
};

namespace detail {
/// Fractions are template arguments as std::ratio types.
template <class Ratio>
inline constexpr float value_of = static_cast<float>(Ratio::num) / static_cast<float>(Ratio::den);

template <class Question, class Default, class... Options>
struct Pick {
  using type = Default;
};
template <class Question, class Default, class First, class... Rest>
struct Pick<Question, Default, First, Rest...> {
  using type = typename std::conditional_t<std::is_same_v<typename First::option, Question>, std::type_identity<First>,
                                           Pick<Question, Default, Rest...>>::type;
};
}  // namespace detail

/// The option among `Options` that answers `Question`, or the default.
template <class Question, class Default, class... Options>
using pick = typename detail::Pick<Question, Default, Options...>::type;

/// How many of `Options` answer `Question`.
template <class Question, class... Options>
inline constexpr int answers = (0 + ... + (std::is_same_v<typename Options::option, Question> ? 1 : 0));

}  // namespace ulna
