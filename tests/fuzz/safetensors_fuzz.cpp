// SPDX-License-Identifier: MIT
// libFuzzer entry: any bytes are either refused with ulna::Error or read as a file that can be written and read again.
//   clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/safetensors_fuzz.cpp -o fuzz
//   ./fuzz -max_total_time=240
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "ulna/weights/safetensors.hpp"

namespace st = ulna::safetensors;

static void require(bool holds) {
  if (!holds) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto file = st::File::parse(std::as_bytes(std::span(data, size)));
    st::Writer writer(file.metadata());
    for (const auto& tensor : file.tensors()) {
      if (tensor.dtype == st::DType::F16 || tensor.dtype == st::DType::BF16 || tensor.dtype == st::DType::F32) {
        require(tensor.to_vector<double>().size() == tensor.element_count());
      }
      writer.add(tensor);
    }
    const auto bytes = writer.to_bytes();
    const auto again = st::File::parse(bytes);
    require(again.tensors().size() == file.tensors().size() && again.metadata() == file.metadata());
  } catch (const ulna::Error&) {
  }
  return 0;
}
