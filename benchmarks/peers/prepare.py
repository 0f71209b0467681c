#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What every side of a comparison is given: weights, images and labels, and the results to agree with.

  prepare.py data DEVICE FOLDER NETWORK:MODE:BATCH...
  prepare.py onnxruntime|openvino FOLDER NETWORK BATCH

data: on a device, a line for each case that failed. For each network FOLDER/NETWORK/weights.safetensors (Ulna's names), batch_BATCH.safetensors, and
MODE_BATCH.safetensors from PyTorch in float without tensor cores. Otherwise the model in the format which that framework
reads. What is there already is left as it is.
"""
import os
import sys

import numpy as np
import torch

import models as M
import networks
import speed
import tensors


def make_weights(network, path):
    """He's initialisation, and running statistics of a batch, without which deep networks overflow bfloat16. Norms shift
    by about 1: ReLUs then pass most of their input, and do not amplify rounding from layer to layer as random networks
    do and trained ones do not."""
    torch.manual_seed(7)
    model = network.build()
    M.init_he_normal(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all uses
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and scales differ from each other, so that none can be taken for another
                parameter += 0.1 * torch.randn_like(parameter)
        for module in model.modules():
            if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.GroupNorm)):
                module.bias += 1.0
        model.train()(torch.randn(1, *network.image))
    state = model.state_dict()
    tensors.write(path, {ours: state[name].numpy() for name, ours in networks.names_in_ulna(network, model).items()})


def make_batch(network, batch, path):
    """Noise; labels follow from it, so that there is something to learn."""
    rng = np.random.default_rng(7)
    channels, height, width = network.image
    images = rng.standard_normal((batch, height, width, channels), np.float32)
    labels = (images[..., 0] > 0).astype(np.uint8)
    tensors.write(path, {"images": images, "labels": labels})


def make_reference(name, mode, batch, device, folder, path):
    speed.start(speed.Job(setting="pytorch:eager", network=name, mode=mode, precision="fp32", batch=batch, folder=folder,
                          results=path, threads=speed.available_threads(), device=device)).close()


def make_onnx(network, batch, folder, path):
    model = speed.load_model(network, folder).eval()
    images = torch.zeros(batch, *network.image)
    torch.onnx.export(model, (images,), path, input_names=["images"], output_names=["logits"])


def make_openvino(network, batch, folder, path):
    import openvino
    onnx = f"{folder}/onnxruntime_{batch}.onnx"
    make_missing(onnx, lambda path: make_onnx(network, batch, folder, path))
    openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)


def make_missing(path, make):
    if not os.path.exists(path):
        make(path)


def make_data(device, root, name, mode, batch):
    network, folder = networks.NETWORKS[name], f"{root}/{name}"
    os.makedirs(folder, exist_ok=True)
    make_missing(f"{folder}/weights.safetensors", lambda path: make_weights(network, path))
    make_missing(f"{folder}/batch_{batch}.safetensors", lambda path: make_batch(network, batch, path))
    make_missing(f"{folder}/{mode}_{batch}.safetensors",
                 lambda path: make_reference(name, mode, batch, device, folder, path))


def main():
    what, *arguments = sys.argv[1:]
    if what == "data":
        device, root, *cases = arguments
        for case in cases:
            name, mode, batch = case.split(":")
            try:
                make_data(device, root, name, mode, int(batch))
            except Exception as error:  # on a device the others go on without it, told by a line
                if device == "cpu":
                    raise
                print(f"{case} {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", flush=True)
        return
    root, name, batch = arguments
    network, folder = networks.NETWORKS[name], f"{root}/{name}"
    make, ending = {"onnxruntime": (make_onnx, "onnx"), "openvino": (make_openvino, "xml")}[what]
    make_missing(f"{folder}/{what}_{batch}.{ending}", lambda path: make(network, int(batch), folder, path))


if __name__ == "__main__":
    main()
