// SPDX-License-Identifier: MIT
// Batches for the tests of networks that run.
#pragma once

#include <cstdint>
#include <vector>

#include "../data/temporary_folder.hpp"  // message_of
#include "ulna/runtime/view.hpp"

namespace ulna::testing {

/// Random images with labels that can be learnt: the class grows with the first channel.
struct RandomBatch {
  std::vector<float> images;
  std::vector<std::uint8_t> labels;
  std::vector<float> weights;
  ImagesView image_view;
  LabelsView label_view;
  ImagesView weight_view;

  /// For images of shape `in` and label maps of shape `out`, at the centre of the image.
  RandomBatch(Shape in, Shape out, int batch, int classes, Seed seed = {}) {
    Random random(seed, 0, 0xBA7C4u);
    images.resize(static_cast<std::size_t>(in.size() * batch));
    for (float& v : images) v = random.normal();
    const int top = (in.height - out.height) / 2;
    const int left = (in.width - out.width) / 2;
    for (int n = 0; n < batch; ++n)
      for (int y = 0; y < out.height; ++y)
        for (int x = 0; x < out.width; ++x) {
          const std::int64_t pixel = (std::int64_t{n} * in.height + top + y) * in.width + left + x;
          const float v = images[static_cast<std::size_t>(pixel * in.channels)];
          const int label = static_cast<int>((v + 1.0f) * 0.5f * static_cast<float>(classes));
          labels.push_back(static_cast<std::uint8_t>(label < 0 ? 0 : label >= classes ? classes - 1 : label));
          weights.push_back(random.uniform(0.25f, 2.0f));
        }
    image_view = {images.data(), batch, in.height, in.width, in.channels};
    label_view = {labels.data(), batch, out.height, out.width};
    weight_view = {weights.data(), batch, out.height, out.width};
  }
};

template <class P>
RandomBatch random_batch(int batch, Seed seed = {}) {
  return {P::input_shape, P::output_shape, batch, P::classes == 1 ? 2 : P::classes, seed};
}

}  // namespace ulna::testing
