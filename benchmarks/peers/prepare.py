#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What every side of a comparison is given: weights, images and labels, and the results to agree with.

  prepare.py WHAT FOLDER NETWORK MODE BATCH DEVICE

WHAT is data: weights.safetensors (Ulna's names), batch_N.safetensors, and MODE_N.safetensors from PyTorch in float
without tensor cores; or onnxruntime or openvino: the model in the format which that framework reads. What is there
already is left as it is.
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
    """He's initialisation, and running statistics of a batch, without which deep networks overflow bfloat16."""
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


def make_reference(name, mode, batch, folder, device, path):
    speed.start(speed.Job(setting="pytorch:eager", network=name, mode=mode, precision="fp32", batch=batch, folder=folder,
                          results=path, threads=speed.available_threads(), device=device))


def make_onnx(network, folder, path):
    model = speed.load_model(network, folder).eval()
    torch.onnx.export(model, (torch.zeros(1, *network.image),), path, input_names=["images"], output_names=["logits"])


def make_openvino(network, folder, path):
    import openvino
    make_missing(f"{folder}/model.onnx", lambda onnx: make_onnx(network, folder, onnx))
    openvino.save_model(openvino.convert_model(f"{folder}/model.onnx"), path, compress_to_fp16=False)


def make_missing(path, make):
    if not os.path.exists(path):
        make(path)


def main():
    what, folder, name, mode, batch, device = sys.argv[1:]
    network = networks.NETWORKS[name]
    os.makedirs(folder, exist_ok=True)
    if what == "data":
        make_missing(f"{folder}/weights.safetensors", lambda path: make_weights(network, path))
        make_missing(f"{folder}/batch_{batch}.safetensors", lambda path: make_batch(network, int(batch), path))
        make_missing(f"{folder}/{mode}_{batch}.safetensors",
                     lambda path: make_reference(name, mode, int(batch), folder, device, path))
    elif what == "onnxruntime":
        make_missing(f"{folder}/model.onnx", lambda path: make_onnx(network, folder, path))
    elif what == "openvino":
        make_missing(f"{folder}/openvino.xml", lambda path: make_openvino(network, folder, path))


if __name__ == "__main__":
    main()
