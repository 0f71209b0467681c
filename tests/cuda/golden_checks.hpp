// SPDX-License-Identifier: MIT
// Compares what a device computes with a golden file (tests/golden/README.md says what each tensor is).
#pragma once

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "../golden/file_values.hpp"
#include "golden_run.hpp"

namespace ulna::testing {

/// Largest difference, as a share of the largest value expected.
inline double largest_difference(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double worst = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double d = std::abs(found[i] - expected[i]);
    if (!(d <= worst)) worst = d;  // NaN is the worst
    largest = std::max(largest, std::abs(expected[i]));
  }
  return worst / largest;
}

/// Length of the difference, as a share of the length expected.
inline double distance(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double apart = 0.0, length = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    apart += (found[i] - expected[i]) * (found[i] - expected[i]);
    length += expected[i] * expected[i];
  }
  return std::sqrt(apart / length);
}

/// Of logits at inference and of losses; of logits and statistics of a training pass, whose norms take their statistics
/// from few pixels; and of gradients. Where factors are rounded, units of these tiny networks turn on and off; a wrong
/// gradient would be as far as its own length or more.
struct Tolerances {
  double inference, training, gradients;
};
inline Tolerances tolerances_of(Precision precision) {
  if (precision == Precision::exact) return {1e-4, 1e-4, 1e-3};
  return precision == Precision::tf32 ? Tolerances{2e-3, 1e-2, 0.1} : Tolerances{2e-2, 0.1, 0.65};
}

/// Every parameter (or, not `trainable`, running statistic) from tensors prefix + name, in Ulna's order.
template <class P>
std::vector<double> in_memory_order(const safetensors::File& f, const NameMap& map, const std::string& prefix,
                                    bool trainable) {
  Model<P> model{zeros};
  for (const Parameter& p : model.graph().parameters)
    if (is_trainable(p.kind) == trainable)
      to_memory_order<float>(p, f.at(prefix + map(name_of(model.graph(), p))).template to_vector<float>(),
                             model.mutable_values(p));
  const auto values = trainable ? model.parameters() : model.state();
  return {values.begin(), values.end()};
}

/// The network of file `name` in every precision; `run(precision, input)` runs it.
template <class P, class Loss = CrossEntropy>
void check_golden(const std::string& name, const NameMap& map, auto&& run) {
  const auto f = safetensors::File::open(std::string(ULNA_GOLDEN_DIRECTORY) + "/" + name);
  Model<P> model{zeros};
  golden::fill(model, f, map);
  const golden::Batch batch{f};
  const auto image_values = [&](const char* tensor) {
    const auto values = golden::channels_last(f.at(tensor));
    return std::vector<double>(values.begin(), values.end());
  };
  for (const Precision precision : precisions) {
    INFO(name << ", precision " << static_cast<int>(precision));
    const Tolerances allowed = tolerances_of(precision);
    const GoldenRun found =
        run(precision, GoldenInput{model.parameters(), model.state(), batch.image_view, batch.label_view});
    CHECK(largest_difference(found.output_eval, image_values("output_eval")) <= allowed.inference);
    if constexpr (!std::is_void_v<Loss>) {
      CHECK(largest_difference({found.loss}, f.at("loss").template to_vector<double>()) <= allowed.inference);
      CHECK(largest_difference(found.output_train, image_values("output_train")) <= allowed.training);
      CHECK(distance(found.gradients, in_memory_order<P>(f, map, "grad.", true)) <= allowed.gradients);
      if (P::state_count > 0)
        CHECK(largest_difference(found.state, in_memory_order<P>(f, map, "after_train.", false)) <= allowed.training);
    }
  }
}

}  // namespace ulna::testing
