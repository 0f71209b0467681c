// SPDX-License-Identifier: MIT
#include "on_device.hpp"

template void example::run_classes<example::OnDevice, 2>(TrainingData, const Arguments&);
