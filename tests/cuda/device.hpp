// SPDX-License-Identifier: MIT
// What the device's side (compiled by nvcc) offers the tests (compiled by the C++ compiler).
#pragma once

#include <string>
#include <vector>

#include "ulna/backend/tensor.hpp"

namespace ulna::testing {

/// Empty where there is a device; else what opening one says.
std::string why_no_device();

enum class Products { exact, tf32 };

/// Does one node on the device, from and to the host's memory.
void run_on_device(Op op, Products products, const Call<float>& call);
std::size_t device_scratch_bytes(Op op, Products products, const Call<float>& call);

/// What a few steps of training and a prediction leave behind.
struct Trace {
  std::vector<double> losses, gradient_norms;
  std::vector<double> parameters, state, logits;
};
Trace trace_on_device(Products products);

/// One training step and one prediction of the same program, `count` times from the same start: hashes of the model and
/// of the logits. All are equal, or something is not deterministic.
std::vector<std::uint64_t> hashes_on_device(int count);

}  // namespace ulna::testing
