// SPDX-License-Identifier: MIT
// What compile_time.sh measures: one file that trains and infers on the processor.
#include <ulna/backend/tbb/tbb.hpp>

#include "compile_time.hpp"

int main() { return train_and_infer<ulna::cpu::Tbb<float>>(); }
