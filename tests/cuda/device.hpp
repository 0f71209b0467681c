// SPDX-License-Identifier: MIT
// What the device's side (compiled by nvcc) offers the tests (compiled by the C++ compiler).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "ulna/backend/tensor.hpp"
#include "ulna/bf16.hpp"
#include "ulna/runtime/profile.hpp"
#include "ulna/runtime/view.hpp"

namespace ulna::testing {

/// Of activations and of products: float and float, float and TF32, bf16 and bf16; float and float in Winograd's
/// convolutions wherever they can be.
enum class Precision { exact, tf32, bf16, winograd };
inline constexpr std::array precisions{Precision::exact, Precision::tf32, Precision::bf16};

/// Empty where device `index` can be opened; else what opening it says.
std::string why_no_device(int index = 0);

/// Which operands of a call are activations: the inputs and, last, the output. Others are float, whatever T is.
using Activations = std::array<bool, max_inputs + 1>;

/// Does one node on the device, from and to the host's memory: of float as `precision` says.
void run_on_device(Op op, Precision precision, const Call<float>& call, const Activations& activations);
void run_on_device(Op op, Precision precision, const Call<bf16>& call, const Activations& activations);
std::size_t device_scratch_bytes(Op op, Precision precision, const Call<float>& call);
std::size_t device_scratch_bytes(Op op, Precision precision, const Call<bf16>& call);

/// What a few steps of training and a prediction leave behind.
struct Trace {
  std::vector<double> losses, gradient_norms;
  std::vector<double> parameters, state, logits;
  bool operator==(const Trace&) const = default;
};
/// `eager`: node by node, without a captured graph.
Trace trace_on_device(Precision precision, bool eager = false);

/// Hashes of what `count` models are and predict after two steps of training. All models start alike and see the same
/// images, but with `unlike` each starts and sees its own. `together`: their steps take turns, else one model after
/// the other.
std::vector<std::uint64_t> hashes_on_device(Precision precision, int count, bool unlike, bool together);

/// Of a prediction and of a training step. Throws unless the model stays as it was.
std::array<Profile, 2> profiles_on_device(Precision precision);

/// What is said where the driver is older than the toolkit, and where there is no code for the device's architecture.
std::array<std::string, 2> messages_about_versions();

/// What a batch that needs much more memory than any device has is told, by a predictor and by a trainer.
std::array<std::string, 2> messages_about_memory();

}  // namespace ulna::testing
