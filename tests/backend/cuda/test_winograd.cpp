// SPDX-License-Identifier: MIT
// Winograd's convolutions of floats on the CUDA backend, their blocks emulated on the host.
#include "convolution_checks.hpp"
#include "ulna/backend/cuda/device.hpp"

using namespace ulna;
using namespace ulna::cuda;

namespace {

/// A convolution 3x3 or its adjoint between images whose tiles are cut off at the edges.
ConvolutionCase winograd_case(Random& r, int i) {
  const auto pick = [&](int low, int high) { return low + r.below(high - low + 1); };
  ConvolutionCase c;
  c.op = i % 2 == 0 ? Op::convolution : Op::transposed_convolution;
  c.winograd = true;
  c.window = window2d(3);
  c.window.pad_before = {0, pick(0, 2), pick(0, 2)};
  c.window.pad_after = {0, pick(0, 2), pick(0, 2)};
  c.large = {1, pick(3, 21), pick(3, 21)};
  c.small = window_output(c.large, c.window);
  c.batch = pick(1, 3);
  constexpr int channels[] = {1, 3, 8, 20, 33, 40};
  c.in = channels[r.below(6)];
  c.out = channels[r.below(6)];
  c.swapped = r.chance(0.5f);
  c.biased = r.chance(0.5f);
  c.packed_before = r.chance(0.5f);
  c.activation = static_cast<Activation>(r.below(5));
  if (r.chance(0.5f)) c.before = r.below(6), c.after = r.below(6);
  if (c.op == Op::convolution && r.chance(0.5f)) {
    c.residual = r.chance(0.5f) ? ResidualSum::before_activation : ResidualSum::after_activation;
    c.in_place = r.chance(0.5f);
  }
  c.pooled = c.op == Op::convolution && c.small.height > 1 && c.small.width > 1 && r.chance(0.5f);
  return c;
}

/// Notes what is enqueued.
struct Listener : EmulatedExecution {
  static inline std::string heard;
  void each(const char* name, std::int64_t, const auto&) const { heard += std::string(name) + ' '; }
  void blocks(const char* name, std::int64_t, int, std::size_t, const auto&) const { heard += std::string(name) + ' '; }
};
void run_tiles(const Listener&, const char* name, const ProductPlan&, const auto&) {
  Listener::heard += std::string(name) + ' ';
}

template <class A>
using Device = BasicDevice<float, A, HostPlatform<Listener>>;

/// What device arithmetic A does for a convolution of `channels` channels.
template <class A>
std::string heard(int channels, int extent, bool packed = false) {
  Node node{.op = Op::convolution};
  node.window = window2d(3, 1, 1);
  const Shape image{channels, 1, extent, extent};
  Call<float> call;
  call.node = &node;
  call.batch = 1;
  call.output = {nullptr, image, 1, channels, image.size()};
  call.input[0] = call.output;
  call.input[1] = {nullptr, {channels, 1, 9, channels}, 1, channels, 9 * channels * channels};
  Listener on;
  const std::byte some[1]{};
  if (packed) on.packed = some;
  Listener::heard.clear();
  Device<A>::template kernel<Op::convolution>(node)(on, call);
  return Listener::heard;
}

}  // namespace

TEST_CASE("cuda winograd: random paddings, channels, slices and batches") {
  Random r(Seed{71});
  for (int i = 0; i < 16; ++i) {
    const ConvolutionCase c = winograd_case(r, i);
    INFO(c.text());
    const CaseResult result =
        run_case<Arithmetic::exact>(c, {.late_copies = i % 3 != 0, .backwards = i % 4 == 1}, coarse);
    CHECK(difference(result) < 2e-5);
  }
}

TEST_CASE("cuda winograd: bands of tiles give the bits of all at once") {
  Random r(Seed{72});
  ConvolutionCase c = winograd_case(r, 0);
  c.batch = 2;
  c.in = 20;
  c.large = {1, 18, 14};
  c.small = window_output(c.large, c.window);
  const std::vector<double> whole = run_case<Arithmetic::exact>(c, {}, coarse).found;
  for (const int band : {7, 25}) {
    c.band = band;
    CHECK(run_case<Arithmetic::exact>(c, {}, coarse).found == whole);
  }
}

TEST_CASE("cuda winograd: errors of many channels stay far from 1e-4") {
  for (const Op op : {Op::convolution, Op::transposed_convolution}) {
    ConvolutionCase c{.op = op, .window = window2d(3, 1, 1), .in = 256, .out = 32, .small = {1, 8, 8}};
    c.large = c.small;
    c.winograd = true;
    const auto normal = [](Random& random) { return random.normal(); };
    CHECK(difference(run_case<Arithmetic::exact>(c, {}, normal)) < 2e-5);
  }
}

TEST_CASE("cuda winograd: it runs where products are many, unless arithmetic forbids") {
  using namespace cuda::arithmetic;
  const std::string winograd = "winograd_inputs winograd_products winograd_outputs ";
  CHECK(heard<Exact>(256, 128) == "pack_weight " + winograd + winograd);
  CHECK(heard<Exact>(256, 128, true) == winograd + winograd);
  CHECK(heard<Exact>(64, 128) == "convolution ");
  CHECK(heard<Exact>(256, 16).find("winograd") == std::string::npos);
  CHECK(heard<Winograd>(64, 16) == "pack_weight " + winograd);
  CHECK(heard<Direct>(256, 128) == "convolution ");
  CHECK(heard<Unsplit<Winograd>>(64, 16) == "convolution ");
  CHECK(heard<Unsplit<Exact>>(256, 128) == "convolution ");
  CHECK(heard<Tf32>(256, 128) == "convolution ");
}

TEST_CASE("cuda winograd: what the layers of a U-Net of width 64 gain") {
  const auto wins = [](int in, int out, int extent, int batch) {
    return winograd_wins({in, out, batch * extent / 4 * extent / 4}, true);
  };
  CHECK(!wins(64, 64, 512, 1));
  CHECK(wins(128, 128, 256, 1));
  CHECK(wins(256, 256, 128, 1));
  CHECK(wins(512, 512, 64, 1));
  CHECK(!wins(1024, 1024, 32, 1));  // as many numbers of the weight as of tiles
  CHECK(wins(1024, 1024, 32, 16));
  for (const int channels : {32, 130, 256, 1000})
    for (const int tiles : {1, 127, 5000, 1 << 20}) {
      const WinogradSize size{channels, 2 * channels, tiles};
      const WinogradPlan plan = plan_winograd(size);
      CHECK(plan.band >= 1);
      CHECK((plan.band % tile_rows == 0 || plan.band == tiles));
      CHECK(plan.column_tiles * tile_columns(plan.kind) >= size.outputs);
      CHECK((plan.band <= tile_rows || plan.band * size.of_a_tile() * 4 <= std::max(band_bytes, 4 * size.weight())));
    }
}
