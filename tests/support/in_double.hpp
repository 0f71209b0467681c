// SPDX-License-Identifier: MIT
// A network beside the same one in double.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "ulna/backend/tensor.hpp"
#include "ulna/runtime/model.hpp"

namespace ulna::testing {

/// Distance between two vectors as a share of the length of the second.
template <class A, class B>
double relative_distance(const A& found, const B& expected) {
  REQUIRE(found.size() == expected.size());
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto e = static_cast<double>(expected[i]);
    const double d = static_cast<double>(found[i]) - e;
    difference += d * d;
    length += e * e;
  }
  return std::sqrt(difference / length);
}

template <class T>
std::vector<double> values_of(const Tensor<T>& t) {
  std::vector<double> all;
  for (int n = 0; n < t.batch; ++n)
    for (std::ptrdiff_t p = 0; p < t.pixels(); ++p)
      for (int c = 0; c < t.shape.channels; ++c) all.push_back(static_cast<double>(t.pixel(n, p)[c]));
  return all;
}

/// The same weights in double.
template <class Q>
Model<Q, double> in_double(const Model<Q>& model) {
  Model<Q, double> twin;
  std::ranges::copy(model.parameters(), twin.mutable_parameters().begin());
  std::ranges::copy(model.state(), twin.mutable_state().begin());
  return twin;
}

}  // namespace ulna::testing
