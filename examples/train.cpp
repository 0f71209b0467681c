// SPDX-License-Identifier: MIT
// Trains on the processor.
#include "training.hpp"

int main(int argc, char** argv) { return example::train_main<example::OnProcessor>(argc, argv); }
