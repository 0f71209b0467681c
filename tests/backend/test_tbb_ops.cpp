// SPDX-License-Identifier: MIT
// What is particular to the Tbb kernels of everything but convolution: vector tails, slices, operands in place, and the
// same bits on any number of threads. That they compute the right thing is checked against the reference on the way.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/random.hpp"

namespace {

using namespace ulna;

/// How an operand is filled, and how it lies in memory.
enum class Kind { image, label, weight, record, variance, parameter };

struct Slot {
  Shape shape;
  Kind kind = Kind::image;
  bool per_sample = true;
};

/// One call: the op's kernels on both backends, its node and its operands.
struct Case {
  std::string name;
  Node node;
  Kernel<float> fast, reference;
  std::size_t (*fast_bytes)(const Call<float>&, int);
  std::size_t (*reference_bytes)(const Call<float>&, int);
  Slot output;
  std::vector<Slot> inputs;
  bool in_place = false;
};

template <Op op>
Case make_case(std::string name, Node node, Slot output, std::vector<Slot> inputs, bool in_place = false) {
  node.op = op;
  node.shape = output.shape;
  for (std::size_t i = 0; i < inputs.size(); ++i) node.input[i] = static_cast<int>(i);
  return {std::move(name),
          node,
          cpu::Tbb<float>::kernel<op>(node),
          cpu::Eigen<float>::kernel<op>(node),
          &cpu::Tbb<float>::scratch_bytes<op>,
          &cpu::Eigen<float>::scratch_bytes<op>,
          output,
          std::move(inputs),
          in_place};
}

/// A tensor and its memory. A slice lies inside wider pixels whose other channels hold a guard value.
struct Memory {
  static constexpr float guard = 12345.0f;
  std::vector<float> data;
  Tensor<float> view;

  Memory() = default;
  Memory(const Slot& slot, int batch, bool slice) {
    const bool wide = slice && slot.kind == Kind::image;
    const std::ptrdiff_t stride = slot.shape.channels + (wide ? 5 : 0);
    const std::ptrdiff_t sample = stride * static_cast<std::ptrdiff_t>(slot.shape.pixels());
    const int samples = slot.per_sample ? batch : 1;
    data.assign(static_cast<std::size_t>(sample * samples) + 5, guard);
    view = {data.data() + (wide ? 2 : 0), slot.shape, samples, stride, sample};
  }
  Memory(const Memory& other) : data(other.data), view(other.view) {
    if (other.view) view.data = data.data() + (other.view.data - other.data.data());
  }
  Memory(Memory&&) = default;
  Memory& operator=(Memory&&) = default;  // the vector's memory, and with it the view, stays where it is

  template <class F>
  void for_each(F f) {
    for (int n = 0; n < view.batch; ++n)
      for (std::ptrdiff_t p = 0; p < view.pixels(); ++p)
        for (int c = 0; c < view.shape.channels; ++c) f(view.pixel(n, p)[c]);
  }
  bool guards_intact() {
    Memory copy(*this);
    copy.for_each([](float& v) { v = guard; });
    for (const float v : copy.data)
      if (v != guard) return false;
    return true;
  }
};

void fill(Memory& m, Kind kind, int classes, std::uint64_t stream) {
  Random random(Seed{99}, stream);
  m.for_each([&](float& v) {
    switch (kind) {
      case Kind::label:
        v = static_cast<float>(random.below(classes));
        break;
      case Kind::weight:
        v = random.uniform(0.0f, 2.0f);
        break;
      case Kind::variance:
        v = random.uniform(0.2f, 2.0f);
        break;
      case Kind::record:  // means below variances: the latter must be positive
        v = random.uniform(0.1f, 1.5f);
        break;
      default:
        // coarse values make ties for the maximum, offsets make cancellation
        v = std::round(8.0f * random.normal()) / 8.0f + 0.01f * random.uniform();
    }
  });
}

struct Result {
  Memory output;
  std::vector<Memory> inputs;
};

Result run(const Case& c, int batch, bool slice, bool in_place, const cpu::Tbb<float>* threads) {
  Result r;
  Call<float> call{.node = &c.node, .batch = batch, .seed = Seed{5}, .step = 3};
  const int classes = c.inputs.empty() ? 1 : std::max(2, c.inputs[0].shape.channels);
  r.inputs.reserve(c.inputs.size());
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    fill(r.inputs.emplace_back(c.inputs[i], batch, slice), c.inputs[i].kind, classes, i);
    call.input[i] = r.inputs[i].view;
  }
  r.output = Memory(c.output, batch, slice);
  fill(r.output, Kind::image, 1, 77);
  call.output = in_place ? call.input[0] : r.output.view;
  const std::size_t bytes = threads ? c.fast_bytes(call, threads->threads()) : c.reference_bytes(call, 1);
  std::vector<std::byte> scratch(bytes + 128);
  void* aligned = scratch.data();
  std::size_t space = scratch.size();
  std::align(64, bytes, aligned, space);
  call.scratch = {static_cast<std::byte*>(aligned), bytes};
  std::memset(aligned, 0xFF, bytes + 1);  // NaN everywhere: nobody may rely on zeros
  if (threads)
    threads->run([&] { c.fast(call); });
  else
    c.reference(call);
  CHECK_MESSAGE(
      scratch[static_cast<std::size_t>(static_cast<std::byte*>(aligned) - scratch.data()) + bytes] == std::byte{0xFF},
      "wrote beyond its scratch memory");
  return r;
}

/// Everything a call may have written.
std::vector<float> values(const Result& r) {
  std::vector<float> all;
  Memory output(r.output);
  output.for_each([&](float v) { all.push_back(v); });
  for (const Memory& m : r.inputs) {
    Memory input(m);
    input.for_each([&](float v) { all.push_back(v); });
  }
  return all;
}

void check_close(const std::vector<float>& found, const std::vector<float>& expected, const std::string& what) {
  REQUIRE(found.size() == expected.size());
  double scale = 1e-3;
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
    const double error = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
    if (!(error <= worst)) worst = error;
  }
  INFO(what);
  CHECK(worst <= 4e-6 * scale);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void check(const Case& c, int batch) {
  const cpu::Tbb<float> one(1), two(2);
  for (const bool slice : {false, true}) {
    const std::string what = c.name + (slice ? ", slices" : ", dense") + ", batch " + std::to_string(batch);
    INFO(what);
    Result expected = run(c, batch, slice, false, nullptr);
    Result found = run(c, batch, slice, false, &one);
    check_close(values(found), values(expected), what);
    CHECK(found.output.guards_intact());
    CHECK(same_bits(values(found), values(run(c, batch, slice, false, &two))));
    if (c.in_place) {
      Result in_place = run(c, batch, slice, true, &two);
      std::vector<float> separate, together;
      found.output.for_each([&](float v) { separate.push_back(v); });
      in_place.inputs[0].for_each([&](float v) { together.push_back(v); });
      CHECK(same_bits(separate, together));
      CHECK(in_place.inputs[0].guards_intact());
    }
  }
}

constexpr Activation activations[] = {Activation::none, Activation::relu, Activation::leaky_relu, Activation::sigmoid};

std::string named(const char* op, int channels) { return std::string(op) + " of " + std::to_string(channels); }

/// Fewer than a vector, odd counts, whole vectors, whole vectors and a tail.
constexpr int channel_counts[] = {1, 3, 8, 16, 27, 67};

Shape image(int channels, int height = 11, int width = 13) { return {channels, 1, height, width}; }
Shape record(int size) { return {size, 1, 1, 1}; }

}  // namespace

TEST_CASE("pointwise kernels: tails, slices, in place, threads") {
  for (const int c : channel_counts) {
    const Slot x{image(c)};
    for (const Activation a : activations) {
      Node n{};
      n.activation = a;
      n.slope = 0.2f;
      check(make_case<Op::activation>(named("activation", c), n, x, {x}, true), 2);
      if (a != Activation::none)
        check(make_case<Op::activation_gradient>(named("activation_gradient", c), n, x, {x, x}, true), 2);
      check(make_case<Op::add>(named("add", c), n, x, {x, x}, true), 2);
    }
    check(make_case<Op::multiply>(named("multiply", c), {}, x, {x, x}, true), 2);
    check(make_case<Op::softmax>(named("softmax", c), {}, x, {x}, true), 2);
    check(make_case<Op::softmax_gradient>(named("softmax_gradient", c), {}, x, {x, x}, true), 2);
    Node n{};
    n.rate = 0.3f;
    check(make_case<Op::scale>(named("scale", c), n, x, {x}, true), 2);
    n.begin = 2;
    check(make_case<Op::dropout>(named("dropout", c), n, x, {x}, true), 3);
  }
  const Slot large{image(24, 90, 70)};  // many tasks
  Node n{};
  n.rate = 0.5f;
  check(make_case<Op::dropout>("dropout, large", n, large, {large}, true), 2);
  check(make_case<Op::softmax>("softmax, large", {}, large, {large}, true), 2);
  const Slot wide{image(1500, 3, 4)};
  check(make_case<Op::softmax>("softmax, wide", {}, wide, {wide}, true), 1);
}

TEST_CASE("normalisation kernels: tails, slices, in place, threads") {
  for (const int c : channel_counts)
    for (const int shape : {0, 1, 2}) {  // batch, instance and group norm
      for (const Activation a : activations) {
        if (c != 27 && a != activations[(c + shape) % 4]) continue;  // one activation each, all of them once
        const Slot x{image(c, 11, 17)};
        Node n{};
        n.norm = {.groups = shape == 2 ? (c % 2 == 0 ? 2 : 1) : c, .over_batch = shape == 0};
        n.activation = a;
        n.slope = 0.2f;
        const Slot moments{record(2 * n.norm.groups), Kind::record, shape != 0};
        const Slot sums{record(2 * c), Kind::parameter, shape != 0};
        const Slot vector{record(c), Kind::parameter, false};
        check(make_case<Op::moments>(named("moments", c), n, moments, {x}), 3);
        check(make_case<Op::normalize>(named("normalize", c), n, x, {x, moments}, true), 3);
        check(make_case<Op::normalize>(named("normalize affine", c), n, x, {x, moments, vector, vector}, true), 3);
        check(make_case<Op::normalize_gradient_sums>(named("normalize_gradient_sums", c), n, sums,
                                                     {x, x, moments, vector, vector}),
              3);
        check(make_case<Op::normalize_gradient>(named("normalize_gradient", c), n, x, {x, x, moments, sums}, true), 3);
        check(make_case<Op::normalize_gradient>(named("normalize_gradient affine", c), n, x,
                                                {x, x, moments, sums, vector, vector}, true),
              3);
        check(make_case<Op::affine>(named("affine", c), n, x, {x, {record(2 * c), Kind::parameter, false}}, true), 2);
      }
    }
}

TEST_CASE("sums over pixels in several parts of each sample") {
  for (const bool over_batch : {true, false}) {
    const Slot x{image(16, 128, 99)};
    Node n{};
    n.norm = {.groups = 16, .over_batch = over_batch};
    n.activation = Activation::relu;
    const Slot moments{record(32), Kind::record, !over_batch};
    REQUIRE(tbb_kernels::reduction_parts(x.shape) > 3);
    check(make_case<Op::moments>("moments", n, moments, {x}), 3);
    check(make_case<Op::normalize_gradient_sums>("normalize_gradient_sums", n, moments, {x, x, moments}), 3);
  }
}

TEST_CASE("records of normalisation") {
  for (const int c : channel_counts) {
    Node n{};
    n.norm = {.groups = c, .over_batch = true, .momentum = 0.3f};
    const Slot vector{record(c), Kind::parameter, false};
    const Slot variance{record(c), Kind::variance, false};
    const Slot moments{record(2 * c), Kind::record, false};
    const Slot sums{record(2 * c), Kind::parameter, true};
    n.begin = c;
    check(make_case<Op::norm_parameter_gradient>(named("norm_parameter_gradient", c), n, vector, {sums}), 4);
    n.accumulate = true;
    check(make_case<Op::norm_parameter_gradient>(named("norm_parameter_gradient +=", c), n, vector, {sums}), 4);
    n.begin = 143;
    check(make_case<Op::update_running>(named("update_running", c), n, {record(0)}, {moments, vector, variance}), 4);
    check(make_case<Op::running_affine>(named("running_affine", c), n, moments, {vector, variance}), 1);
    check(make_case<Op::running_affine>(named("running_affine", c), n, moments, {vector, variance, vector, vector}), 1);
    const Slot weight{{c, 1, 9, 5}, Kind::parameter, false};
    check(make_case<Op::fold_weight>(named("fold_weight", c), n, weight, {weight, moments}), 1);
    check(make_case<Op::fold_bias>(named("fold_bias", c), n, vector, {moments}), 1);
    check(make_case<Op::fold_bias>(named("fold_bias", c), n, vector, {moments, vector}), 1);
  }
}

TEST_CASE("moments keep the variance of channels far from zero") {
  const Slot x{image(3, 64, 64)};
  Node n{};
  n.norm = {.groups = 3, .over_batch = true};
  const Case c = make_case<Op::moments>("moments", n, {record(6), Kind::record, false}, {x});
  Memory input(x, 2, false);
  Memory output(c.output, 2, false);
  fill(input, Kind::image, 1, 1);
  double sum = 0, squares = 0, count = 0;
  input.for_each([](float& v) { v += 5000.0f; });
  for (int s = 0; s < 2; ++s)
    for (std::ptrdiff_t p = 0; p < input.view.pixels(); ++p, ++count)
      sum += static_cast<double>(input.view.pixel(s, p)[1]);
  for (int s = 0; s < 2; ++s)
    for (std::ptrdiff_t p = 0; p < input.view.pixels(); ++p)
      squares += std::pow(static_cast<double>(input.view.pixel(s, p)[1]) - sum / count, 2);
  Call<float> call{.node = &c.node, .batch = 2, .output = output.view, .input = {input.view}};
  std::vector<double> scratch(c.fast_bytes(call, 2) / sizeof(double) + 1);
  call.scratch = std::as_writable_bytes(std::span(scratch));
  cpu::Tbb<float>(2).run([&] { c.fast(call); });
  CHECK(static_cast<double>(output.view.data[1]) == doctest::Approx(sum / count).epsilon(1e-7));
  CHECK(static_cast<double>(output.view.data[4]) == doctest::Approx(squares / count).epsilon(1e-6));
}

TEST_CASE("pooling kernels: tails, slices, borders, overlap, threads") {
  const Window windows[] = {window2d(2, 2),
                            window2d(3, 2, 1),
                            window2d(2, 3),
                            window2d(3, 1, 1),
                            window2d(2, 4, 0, 2),
                            window2d(3, 2, 2, 2),
                            {{1, 1, 3}, {1, 1, 3}, {1, 1, 1}, {0, 0, 1}, {0, 0, 1}}};
  for (const int c : channel_counts)
    for (const Window& w : windows) {
      Node n{};
      n.window = w;
      const Slot x{image(c, 20, 26)};
      const Slot y{shape_of(c, window_output(x.shape.extent(), w))};
      check(make_case<Op::max_pool>(named("max_pool", c), n, y, {x}), 2);
      check(make_case<Op::max_pool_gradient>(named("max_pool_gradient", c), n, x, {y, x}), 2);
      check(make_case<Op::average_pool>(named("average_pool", c), n, y, {x}), 2);
      check(make_case<Op::average_pool_gradient>(named("average_pool_gradient", c), n, x, {y}), 2);
    }
}

TEST_CASE("upsampling kernels: tails, slices, corners, threads") {
  for (const int c : channel_counts)
    for (const Extent factor : {Extent{1, 2, 2}, Extent{1, 3, 1}, Extent{1, 4, 5}})
      for (const Extent extent : {Extent{1, 9, 14}, Extent{1, 1, 2}}) {
        const Slot x{shape_of(c, extent)};
        const Slot y{image(c, extent.height * factor.height, extent.width * factor.width)};
        Node n{};
        n.window.stride = factor;
        check(make_case<Op::upsample_nearest>(named("upsample_nearest", c), n, y, {x}), 2);
        check(make_case<Op::upsample_nearest_gradient>(named("upsample_nearest_gradient", c), n, x, {y}), 2);
        for (const bool corners : {false, true}) {
          n.align_corners = corners;
          check(make_case<Op::upsample_bilinear>(named("upsample_bilinear", c), n, y, {x}), 2);
          check(make_case<Op::upsample_bilinear_gradient>(named("upsample_bilinear_gradient", c), n, x, {y}), 2);
        }
      }
}

TEST_CASE("rearranging kernels: tails, slices, threads") {
  for (const int c : channel_counts) {
    const Slot x{image(c)};
    check(make_case<Op::concat>(named("concat", c), {}, {image(2 * c + 3)}, {x, {image(3)}, x}), 2);
    Node n{};
    n.window.pad_before = {0, 2, 3};
    check(make_case<Op::crop>(named("crop", c), n, {image(c, 6, 7)}, {x}), 2);
    n.window.pad_after = {0, 4, 12};
    for (const Border border : {Border::zero, Border::reflect}) {
      n.window.border = border;
      check(make_case<Op::pad>(named("pad", c), n, {image(c, 17, 28)}, {x}), 2);
      check(make_case<Op::pad_gradient>(named("pad_gradient", c), n, x, {{image(c, 17, 28)}}), 2);
    }
  }
}

TEST_CASE("losses: classes, slices, threads") {
  for (const int c : {1, 2, 3, 9, 70}) {
    const Slot x{image(c, 37, 121)};
    const Slot labels{image(1, 37, 121), Kind::label};
    const Slot weights{image(1, 37, 121), Kind::weight};
    Node n{};
    n.rate = 0.7f;
    const Slot mean{record(2), Kind::record, false};
    if (c > 1) {
      check(make_case<Op::cross_entropy>(named("cross_entropy", c), n, mean, {x, labels}), 2);
      check(make_case<Op::cross_entropy>(named("weighted cross_entropy", c), n, mean, {x, labels, weights}), 2);
      check(make_case<Op::cross_entropy_gradient>(named("cross_entropy_gradient", c), n, x, {x, labels, mean}), 2);
      check(make_case<Op::cross_entropy_gradient>(named("cross_entropy_gradient", c), n, x, {x, labels, mean, weights}),
            2);
    } else {
      check(make_case<Op::binary_cross_entropy>("binary_cross_entropy", n, mean, {x, labels}), 2);
      check(make_case<Op::binary_cross_entropy>("weighted binary_cross_entropy", n, mean, {x, labels, weights}), 2);
      check(make_case<Op::binary_cross_entropy_gradient>("binary_cross_entropy_gradient", n, x, {x, labels, mean}), 2);
      check(make_case<Op::binary_cross_entropy_gradient>("weighted binary_cross_entropy_gradient", n, x,
                                                         {x, labels, mean, weights}),
            2);
    }
    for (const bool squared : {false, true})
      for (const bool per_sample : {false, true}) {
        n.dice = {.squared = squared, .include_background = squared != per_sample, .per_sample = per_sample};
        const Slot sums{record(1 + 3 * c), Kind::record, per_sample};
        check(make_case<Op::soft_dice>(named("soft_dice", c), n, sums, {x, labels}), 2);
        check(make_case<Op::soft_dice_gradient>(named("soft_dice_gradient", c), n, x, {x, labels, sums}), 2);
        n.rate2 = 0.4f;
        check(make_case<Op::weighted_sum>("weighted_sum", n, {record(1), Kind::record, false}, {mean, sums}), 2);
        check(make_case<Op::weighted_sum>("weighted_sum", n, {record(1), Kind::record, false}, {sums}), 2);
      }
  }
}

TEST_CASE("a loss whose weights are all zero is zero, and so is its gradient") {
  const Shape s = image(2, 4, 4);
  std::vector<float> x(32, 1.5f), labels(16, 1.0f), weights(16, 0.0f), mean(2, 9.0f), dx(32, 9.0f);
  const auto view = [](std::vector<float>& v, Shape shape) {
    return Tensor<float>{v.data(), shape, 1, shape.channels, static_cast<std::ptrdiff_t>(v.size())};
  };
  Node n{};
  n.rate = 1.0f;
  std::vector<double> scratch(8192);
  Call<float> call{.node = &n,
                   .batch = 1,
                   .output = view(mean, record(2)),
                   .input = {view(x, s), view(labels, image(1, 4, 4)), view(weights, image(1, 4, 4))},
                   .scratch = std::as_writable_bytes(std::span(scratch))};
  const cpu::Tbb<float> backend(2);
  REQUIRE(backend.scratch_bytes<Op::cross_entropy>(call, 2) <= scratch.size() * sizeof(double));
  backend.run([&] { backend.kernel<Op::cross_entropy>(n)(call); });
  CHECK(mean[0] == 0.0f);
  CHECK(mean[1] == 0.0f);
  call.input[3] = call.input[2];
  call.input[2] = call.output;
  call.output = view(dx, s);
  backend.run([&] { backend.kernel<Op::cross_entropy_gradient>(n)(call); });
  for (const float g : dx) CHECK(g == 0.0f);
}

TEST_CASE("the policy: threads, blocks, refusals") {
  CHECK(cpu::Tbb<float>(3).threads() == 3);
  CHECK(cpu::Tbb<float>().threads() >= 1);
  CHECK_THROWS_AS(cpu::Tbb<float>(0), ArgumentError);
  const cpu::Tbb<float> backend(2);
  for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, std::int64_t{100}, std::int64_t{101}}) {
    std::vector<int> seen(static_cast<std::size_t>(count), 0);
    backend.parallel_for_blocks(count, 10, [&](std::int64_t begin, std::int64_t end) {
      CHECK(begin % 10 == 0);
      for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
    });
    for (const int s : seen) CHECK(s == 1);
  }
}
