// SPDX-License-Identifier: MIT
// Multiply-accumulates a second of the full-width U-Net at extents from 128 x 128 to 1024 x 1024, and in the tiles of
// an image of 2048 x 2048: does a small image, or a large one, use the processor as well?
//   extents [THREADS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <ulna/backend/tbb/tbb.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/predict/frozen.hpp>
#include <ulna/predict/segment.hpp>
#include <vector>

namespace {

using namespace ulna;
using Cpu = cpu::Tbb<float>;
template <int Extent>
using Net = Packed<Program<UNet<>, Image<1, Extent, Extent>>, Cpu>;

std::vector<float> noise(int extent) {
  std::vector<float> values(static_cast<std::size_t>(extent) * static_cast<std::size_t>(extent));
  Random random{Seed{7}};
  for (float& v : values) v = random.normal();
  return values;
}

/// Seconds of f(), the median of several runs after one.
double seconds(int runs, auto&& f) {
  std::vector<double> times;
  f();
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::nth_element(times, times.begin() + runs / 2);
  return times[static_cast<std::size_t>(runs / 2)];
}

void print(const std::string& what, double macs, double time) {
  std::printf("| %s | %.1f | %.1f | %.0f |\n", what.c_str(), macs * 1e-9, time * 1e3, 2e-9 * macs / time);
  std::fflush(stdout);
}

template <int Extent>
void whole(Model<Net<512>>& model, int threads) {
  Predictor<Net<Extent>, Cpu> predictor{model, 1, Cpu{threads}};
  const auto image = noise(Extent);
  const double time = seconds(Extent >= 1024 ? 3 : 9, [&] { predictor.predict({image.data(), 1, Extent, Extent, 1}); });
  print(std::to_string(Extent) + " x " + std::to_string(Extent), static_cast<double>(Net<Extent>::macs), time);
}

/// An image by exact tiles; counted are the multiply-accumulates of all tiles, overlaps with them.
template <int Extent>
void tiled(Model<Net<512>>& model, int threads) {
  using Tile = TileProgram<Model<Net<512>>, Cpu, 0>;
  Segmenter<Tile, Cpu> segmenter{model, {}, Cpu{threads}};
  const auto image = noise(Extent);
  const ImagesView view{image.data(), 1, Extent, Extent, 1};
  const TileAxis axis{Tile::input_shape.height, Tile::output_shape.height, Tiling<Tile, Cpu>::alignment,
                      Tiling<Tile, Cpu>::halo.pixels, Extent};
  const auto start = std::chrono::steady_clock::now();
  segmenter.logits(view);
  const double time = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double macs =
      static_cast<double>(axis.tiles()) * static_cast<double>(axis.tiles()) * static_cast<double>(Tile::macs);
  print(std::to_string(Extent) + " x " + std::to_string(Extent) + " in tiles of " +
            std::to_string(Tile::input_shape.height),
        macs, time);
}

}  // namespace

int main(int argc, char** argv) try {
  const int threads = argc > 1 ? std::stoi(argv[1]) : Cpu{}.threads();
  Model<Net<512>> model = pack<Cpu>(Model<Program<UNet<>, Image<1, 512, 512>>>{Seed{7}});
  std::cout << "| image | GMAC | ms | GFLOP/s |\n|---|---:|---:|---:|\n";
  whole<128>(model, threads);
  whole<256>(model, threads);
  whole<512>(model, threads);
  whole<1024>(model, threads);
  tiled<2048>(model, threads);
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
