// SPDX-License-Identifier: MIT
// Trains on an NVIDIA device.
#include "on_device.hpp"

namespace example {

extern template void run_classes<OnDevice, 2>(TrainingData, const Arguments&);
extern template void run_classes<OnDevice, 3>(TrainingData, const Arguments&);
extern template void run_classes<OnDevice, 4>(TrainingData, const Arguments&);
static_assert(largest_class_count == 4);

}  // namespace example

int main(int argc, char** argv) { return example::train_main<example::OnDevice>(argc, argv); }
