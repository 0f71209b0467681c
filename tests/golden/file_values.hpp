// SPDX-License-Identifier: MIT
// What a golden file holds, as Ulna takes it: a batch, and a network's numbers.
#pragma once

#include <doctest/doctest.h>

#include <vector>

#include "ulna/runtime/view.hpp"
#include "ulna/weights/model_file.hpp"

namespace golden {

using namespace ulna;

/// NCHW values of a file as an NHWC batch.
inline std::vector<float> channels_last(const safetensors::Tensor& t) {
  const auto v = t.to_vector<float>();
  const std::size_t c = t.shape[1];
  const std::size_t pixels = t.shape[2] * t.shape[3];
  std::vector<float> out(v.size());
  for (std::size_t n = 0; n < t.shape[0]; ++n)
    for (std::size_t k = 0; k < c; ++k)
      for (std::size_t p = 0; p < pixels; ++p) out[(n * pixels + p) * c + k] = v[(n * c + k) * pixels + p];
  return out;
}

/// A batch in memory as NCHW values.
template <class T>
std::vector<double> channels_first(const Tensor<T>& t) {
  std::vector<double> out;
  for (int n = 0; n < t.batch; ++n)
    for (int k = 0; k < t.shape.channels; ++k)
      for (std::ptrdiff_t p = 0; p < t.pixels(); ++p) out.push_back(static_cast<double>(t.pixel(n, p)[k]));
  return out;
}

/// The batch of a golden file.
struct Batch {
  std::vector<float> images;
  std::vector<std::uint8_t> labels;
  ImagesView image_view;
  LabelsView label_view;

  explicit Batch(const safetensors::File& f) : images(channels_last(f.at("input"))) {
    for (const std::int64_t v : f.at("target").to_vector<std::int64_t>())
      labels.push_back(static_cast<std::uint8_t>(v));
    const auto dims = [](const safetensors::Tensor& t, std::size_t i) { return static_cast<int>(t.shape[i]); };
    const auto& x = f.at("input");
    const auto& y = f.at("target");
    image_view = {images.data(), dims(x, 0), dims(x, 2), dims(x, 3), dims(x, 1)};
    label_view = {labels.data(), dims(y, 0), dims(y, 1), dims(y, 2)};
  }
};

/// Fills a model from the tensors map(name).
template <class P, class T>
void fill(Model<P, T>& model, const safetensors::File& f, const NameMap& map) {
  for (const Parameter& p : model.graph().parameters) {
    const safetensors::Tensor& t = f.at(map(name_of(model.graph(), p)));
    REQUIRE(t.shape == file_shape(p));
    to_memory_order<T>(p, t.to_vector<T>(), model.mutable_values(p));
  }
}

}  // namespace golden
