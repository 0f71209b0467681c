// SPDX-License-Identifier: MIT
// A sample input and what the network makes of it, inside a weights file: whoever loads the file can check that the
// network computes what it computed where it was saved.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ulna/predict/predictor.hpp"
#include "ulna/random.hpp"
#include "ulna/weights/model_file.hpp"

namespace ulna {

/// What logits of a sample may differ by between backends and machines, relative to the largest of them.
inline constexpr double sample_tolerance = 1e-3;

namespace detail {

inline constexpr const char* sample_input = "sample.input";    ///< (1, channels, height, width)
inline constexpr const char* sample_output = "sample.output";  ///< logits, (1, classes, height, width)

template <class SampleProgram, class ModelProgram>
using sample_program = std::conditional_t<std::is_void_v<SampleProgram>, ModelProgram, SampleProgram>;

inline std::vector<std::uint64_t> sample_shape(const Shape& s) {
  return {1, static_cast<std::uint64_t>(s.channels), static_cast<std::uint64_t>(s.height),
          static_cast<std::uint64_t>(s.width)};
}

/// Pixels by channels, and back when `pixels` and `channels` change places.
inline std::vector<float> transposed(const std::vector<float>& v, std::size_t pixels, std::size_t channels) {
  std::vector<float> out(v.size());
  for (std::size_t p = 0; p < pixels; ++p)
    for (std::size_t c = 0; c < channels; ++c) out[c * pixels + p] = v[p * channels + c];
  return out;
}

/// Logits of one image, channels last.
template <Backend B, class P, class ModelType>
std::vector<float> sample_logits(ModelType& model, const std::vector<float>& image) {
  Predictor<P, B> predictor{model};
  constexpr Shape in = P::input_shape;
  const auto out = predictor.predict({image, 1, in.height, in.width, in.channels});
  std::vector<float> logits;
  for (std::ptrdiff_t i = 0; i < out.pixels(); ++i)
    for (int c = 0; c < P::classes; ++c) logits.push_back(static_cast<float>(out.pixel(0, i)[c]));
  return logits;
}

inline const safetensors::Tensor& sample_tensor(const safetensors::File& file, const char* name, const Shape& shape) {
  const safetensors::Tensor* t = file.find(name);
  if (t == nullptr)
    throw WeightsError(file.name() + ": carries no " + name +
                       "; write the file with save_weights_with_sample, or load it with load_weights");
  if (t->shape != sample_shape(shape))
    throw WeightsError(file.name() + ": " + name + " is " + shape_text(t->shape) + ", the program that checks it has " +
                       shape_text(sample_shape(shape)) + "; check with a program of the file's extents");
  return *t;
}

/// Whether a file carries a sample that program P can check.
template <class P>
bool has_sample_for(const safetensors::File& file) {
  const safetensors::Tensor* t = file.find(sample_input);
  return t != nullptr && t->shape == sample_shape(P::input_shape);
}

}  // namespace detail

/// Runs the sample of a file through the model. Throws WeightsError when there is none of the extents of program P, or
/// when a logit differs by more than `tolerance` times the largest.
template <Backend B, class P, class ModelType>
void check_sample(ModelType& model, const safetensors::File& file, double tolerance = sample_tolerance) {
  constexpr Shape in = P::input_shape;
  constexpr Shape out = P::output_shape;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const auto image = detail::sample_tensor(file, detail::sample_input, in).template to_vector<float>();
  const auto saved = detail::sample_tensor(file, detail::sample_output, out).template to_vector<float>();
  for (const float v : image)
    if (!std::isfinite(v)) throw WeightsError(file.name() + ": sample.input holds values that are not finite");
  // the file has channels first, a batch has them last
  const auto expected = detail::transposed(saved, size(out.channels), size(out.pixels()));
  const auto found =
      detail::sample_logits<B, P>(model, detail::transposed(image, size(in.channels), size(in.pixels())));
  double largest = 0.0;
  for (const float v : expected) largest = std::max(largest, std::abs(static_cast<double>(v)));
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
    if (difference <= tolerance * largest) continue;  // NaN is not
    throw WeightsError(file.name() + ": the network makes something else of the file's sample: at " +
                       detail::position_text(i, out.height, out.width, out.channels) + " found the logit " +
                       std::to_string(found[i]) + ", expected " + std::to_string(expected[i]) + " within " +
                       std::to_string(tolerance * largest) + "; the weights are damaged, or mean something else here");
  }
}

/// save_weights() with a sample drawn from `seed` and the logits that backend B computes for it. `SampleProgram` is the
/// model's network on the extents of the sample, by default those of the model's own program.
template <Backend B, class SampleProgram = void, class P>
void save_weights_with_sample(Model<P, MasterOf<B>>& model, const std::filesystem::path& path, SaveOptions options = {},
                              Seed seed = {}) {
  using SP = detail::sample_program<SampleProgram, P>;
  constexpr Shape in = SP::input_shape;
  constexpr Shape out = SP::output_shape;
  Random random{seed, 0, 0x73616D70u};
  std::vector<float> image(static_cast<std::size_t>(in.size()));
  for (float& v : image) v = random.normal();
  const auto logits =
      detail::transposed(detail::sample_logits<B, SP>(model, image), static_cast<std::size_t>(out.pixels()),
                         static_cast<std::size_t>(out.channels));
  image = detail::transposed(image, static_cast<std::size_t>(in.pixels()), static_cast<std::size_t>(in.channels));
  detail::save_model(model, path, std::move(options), [&](safetensors::Writer& writer) {
    writer.add<float>(detail::sample_input, detail::sample_shape(in), image);
    writer.add<float>(detail::sample_output, detail::sample_shape(out), logits);
  });
}

/// load_weights(), then check_sample(). Throws WeightsError and leaves the model as it was when either fails.
template <Backend B, class SampleProgram = void, class P>
void load_weights_with_sample(Model<P, MasterOf<B>>& model, const std::filesystem::path& path,
                              const NameMap& map = own_name, double tolerance = sample_tolerance) {
  const auto file = safetensors::File::open(path);
  Model<P, MasterOf<B>> candidate = model.copy();
  load_weights(candidate, file, map);
  check_sample<B, detail::sample_program<SampleProgram, P>>(candidate, file, tolerance);
  std::ranges::copy(candidate.parameters(), model.mutable_parameters().begin());
  std::ranges::copy(candidate.state(), model.mutable_state().begin());
}

}  // namespace ulna
