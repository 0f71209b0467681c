// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "ulna/model/unet.hpp"
#include "ulna/runtime/model.hpp"

using namespace ulna;

namespace {

using P = Program<UNet<Width<32>, Depth<2>>, Image<3, 16, 16>>;

struct Statistics {
  double mean = 0.0, variance = 0.0, largest = 0.0;
  std::size_t count = 0;
};

Statistics statistics(std::span<const float> values) {
  Statistics s;
  s.count = values.size();
  for (const float v : values) {
    s.mean += static_cast<double>(v) / static_cast<double>(s.count);
    s.largest = std::max(s.largest, std::abs(static_cast<double>(v)));
  }
  for (const float v : values) {
    const double d = static_cast<double>(v) - s.mean;
    s.variance += d * d / static_cast<double>(s.count);
  }
  return s;
}

/// Checks every weight of a model against the variance `expected(fan_in, fan_out)`.
void check_weights(const Model<P>& model, bool uniform, auto expected) {
  int checked = 0;
  for (const Parameter& p : model.graph().parameters) {
    if (p.kind != ParameterKind::weight && p.kind != ParameterKind::transposed_weight) continue;
    const double taps = static_cast<double>(p.kernel.volume());
    // the U-Net's transposed convolutions have stride = kernel: an output pixel sees one tap
    const double seen = p.kind == ParameterKind::transposed_weight ? 1.0 : taps;
    const double variance = expected(seen * p.in, taps * p.out);
    const Statistics s = statistics(model.values(p));
    CAPTURE(name_of(model.graph(), p));
    // Four standard deviations of the mean, and of the variance (kurtosis at most 3).
    const double n = static_cast<double>(s.count);
    CHECK(std::abs(s.mean) < 4 * std::sqrt(variance / n));
    CHECK(std::abs(s.variance / variance - 1) < 4 * std::sqrt(2 / n));
    if (uniform) {
      CHECK(s.largest <= std::sqrt(3 * variance) * 1.000001);
      if (n > 1000) CHECK(s.largest > std::sqrt(3 * variance) * 0.98);
    } else if (n > 1000) {
      CHECK(s.largest > std::sqrt(3 * variance) * 1.2);
    }
    ++checked;
  }
  CHECK(checked == 10 + 2 + 1);
}

}  // namespace

TEST_CASE("initialisation has the variance of its rule") {
  const auto he = [](double in, double) { return 2 / in; };
  const auto glorot = [](double in, double out) { return 2 / (in + out); };
  check_weights(Model<P>{Seed{1}, Initialization::he_normal}, false, he);
  check_weights(Model<P>{Seed{2}, Initialization::he_uniform}, true, he);
  check_weights(Model<P>{Seed{3}, Initialization::glorot_normal}, false, glorot);
  check_weights(Model<P>{Seed{4}, Initialization::glorot_uniform}, true, glorot);
}

TEST_CASE("biases start at 0, scales and variances at 1") {
  const Model<P> model{Seed{5}};
  for (const Parameter& p : model.graph().parameters) {
    if (p.kind == ParameterKind::weight || p.kind == ParameterKind::transposed_weight) continue;
    const bool one = p.kind == ParameterKind::scale || p.kind == ParameterKind::running_variance;
    CAPTURE(name_of(model.graph(), p));
    for (const float v : model.values(p)) REQUIRE(v == (one ? 1.0f : 0.0f));
  }
}

TEST_CASE("parameters fill the buffers without overlap") {
  const Model<P> model;
  CHECK(model.parameters().size() == static_cast<std::size_t>(P::parameter_count));
  CHECK(model.state().size() == static_cast<std::size_t>(P::state_count));
  std::set<const float*> seen;
  std::set<std::string> names;
  for (const Parameter& p : model.graph().parameters) {
    CHECK(names.insert(name_of(model.graph(), p)).second);
    for (const float& v : model.values(p)) CHECK_MESSAGE(seen.insert(&v).second, name_of(model.graph(), p));
  }
  CHECK(seen.size() == model.parameters().size() + model.state().size());
  CHECK(names.contains("encoder.0.conv1.weight"));
  CHECK(names.contains("bottleneck.norm2.running_var"));
  CHECK(names.contains("decoder.1.up.bias"));
  CHECK(names.contains("head.weight"));
}

TEST_CASE("equal seeds give equal weights, others do not") {
  const Model<P> a{Seed{7}};
  const Model<P> b{Seed{7}};
  const Model<P> c{Seed{8}};
  CHECK(a.hash() == b.hash());
  CHECK(a.hash() != c.hash());
  // Parameters of one shape are drawn independently.
  const auto& parameters = a.graph().parameters;
  const Parameter* first = nullptr;
  for (const Parameter& p : parameters) {
    if (p.kind != ParameterKind::weight || p.in != 32 || p.out != 32) continue;
    if (first != nullptr) CHECK(!std::ranges::equal(a.values(*first), a.values(p)));
    first = &p;
  }
  // In double the same numbers, up to rounding: a run in float can be checked in double.
  const Model<P, double> wide{Seed{7}};
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    REQUIRE(static_cast<double>(a.parameters()[i]) == wide.parameters()[i]);
}

TEST_CASE("the hash sees every number") {
  Model<P> model{Seed{9}};
  const std::uint64_t before = model.hash();
  const auto changed_by = [&](std::span<float> values, std::size_t i) {
    const float kept = values[i];
    values[i] = std::nextafter(kept, 10.0f);
    const std::uint64_t hash = model.hash();
    values[i] = kept;
    return hash != before && model.hash() == before;
  };
  for (std::size_t i = 0; i < model.parameters().size(); i += 9973) CHECK(changed_by(model.mutable_parameters(), i));
  CHECK(changed_by(model.mutable_parameters(), model.parameters().size() - 1));
  CHECK(changed_by(model.mutable_state(), model.state().size() - 1));
  // 64-bit FNV-1a of "a".
  const std::byte a{'a'};
  CHECK(hash_bytes({&a, 1}) == 0xAF63DC4C8601EC8Cu);
}

TEST_CASE("every way to change a model changes its revision") {
  Model<P> model;
  std::uint64_t last = model.revision();
  const auto grew = [&] { return std::exchange(last, model.revision()) != model.revision(); };
  CHECK(!grew());
  (void)model.mutable_parameters();
  CHECK(grew());
  (void)model.mutable_state();
  CHECK(grew());
  (void)model.mutable_values(model.graph().parameters[0]);
  CHECK(grew());
  model.initialize(Seed{1}, Initialization::he_normal);
  CHECK(grew());
}
