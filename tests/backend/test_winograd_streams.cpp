// SPDX-License-Identifier: MIT
// Winograd convolutions whose output is larger than caches, and goes past them: the bits are those of a small map.
#include "convolution_cases.hpp"
#include "ulna/backend/tbb/winograd.hpp"

using namespace ulna;
using namespace ulna::convolution_cases;

TEST_CASE("winograd: a map larger than caches has the bits of its parts") {
  constexpr Kernels kernels{&winograd::convolution<NativeIsa>, &winograd::convolution_scratch_bytes<NativeIsa>, nullptr,
                            nullptr, true};
  Random r(Seed{41});
  const Window w = window2d(3, 1, 1);
  const Extent large{1, 512, 260}, small{1, 20, 260};
  Case whole = make_convolution(r, Op::convolution, w, large, large, 16, 64, 1);
  Case part = make_convolution(r, Op::convolution, w, small, small, 16, 64, 1);
  // the same operands, densely: only whole lines stream
  for (Case* c : {&whole, &part}) {
    c->node.activation = Activation::relu;
    c->bias.view = {};
  }
  part.w.memory = whole.w.memory;
  part.w.view.data = part.w.memory.data();
  REQUIRE(whole.y.view.shape.size() >= 8 * 1024 * 1024);
  Tensor<float>& y = whole.y.view;
  std::vector<float> dense(static_cast<std::size_t>(y.shape.size()) + 16);
  const auto aligned = (64 - reinterpret_cast<std::uintptr_t>(dense.data()) % 64) % 64 / sizeof(float);
  y = {dense.data() + aligned, y.shape, 1, y.shape.channels, static_cast<std::ptrdiff_t>(y.shape.size())};
  run_case(whole, kernels);
  // Rows. What lies outside a part is zero there, so its first and last tiles are not compared.
  for (const int first : {0, 246, 492}) {
    for (int row = 0; row < small.height; ++row)
      for (int x = 0; x < small.width; ++x)
        std::copy_n(whole.x.view.pixel(0, std::ptrdiff_t{first + row} * large.width + x), 16,
                    part.x.view.pixel(0, std::ptrdiff_t{row} * small.width + x));
    run_case(part, kernels);
    std::ptrdiff_t different = 0;
    for (int row = 6; row < 12; ++row)
      for (int x = 0; x < small.width; ++x)
        for (int k = 0; k < 64; ++k)
          different += y.pixel(0, std::ptrdiff_t{first + row} * large.width + x)[k] !=
                       part.y.view.pixel(0, std::ptrdiff_t{row} * small.width + x)[k];
    CHECK(different == 0);
  }
}
