// SPDX-License-Identifier: MIT
#include "on_device.hpp"

template void example::run_classes<example::OnDevice, 3>(TrainingData, const Arguments&);
