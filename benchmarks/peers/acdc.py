#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The PyTorch side of benchmarks/acdc: the same recipe, models.py's networks, one line of JSON for each result.

Same data, crops, augmentation, loss, optimizer, schedule, initialisation, blended windows and scoring as
benchmarks/acdc/recipe.hpp; the random numbers differ.

  acdc.py DIR [--network NAME]... [--seed S]... [--steps N]
"""
import argparse
import json
import math

import numpy as np
import torch
import torch.nn.functional as F

import models as M
import training

CLASSES, CROP, BATCH, RATE = 4, 192, 8, 1e-3

NETWORKS = {
    "unet": lambda: M.unet(1, CLASSES, 16),
    "trans_unet": lambda: M.transunet(CLASSES, CROP, hidden=128, layers=4, heads=4, mlp=512, resnet=(1, 1, 2),
                                      resnet_width=16, groups=8, head_channels=128, decoder=(128, 64, 32, 16)),
}


def mirrored(index, count):
    """Indices beyond the ends reflected about the first and the last."""
    period = max(2 * (count - 1), 1)
    index = np.abs(index) % period
    return np.minimum(index, period - index) if count > 1 else np.zeros_like(index)


def crop_of(rng, x, y):
    """A crop that is turned by up to 20 degrees, zoomed by up to 15 % and mirrored at borders."""
    center = []
    for extent in y.shape:
        slack = extent - CROP
        start = min(0, slack) + rng.integers(abs(slack) + 1)
        center.append(start + 0.5 * (CROP - 1))
    angle, zoom = math.radians(rng.uniform(-20, 20)), rng.uniform(0.85, 1.15)
    row, column = np.meshgrid(*(2 * [np.arange(CROP) - 0.5 * (CROP - 1)]), indexing="ij")
    down = center[0] + (math.cos(angle) * row - math.sin(angle) * column) / zoom
    right = center[1] + (math.sin(angle) * row + math.cos(angle) * column) / zoom
    top, left = np.floor(down).astype(int), np.floor(right).astype(int)
    a, b = down - top, right - left

    def at(source, r, c):
        return source[mirrored(r, y.shape[0]), mirrored(c, y.shape[1])]

    image = ((1 - a) * ((1 - b) * at(x, top, left) + b * at(x, top, left + 1)) +
             a * ((1 - b) * at(x, top + 1, left) + b * at(x, top + 1, left + 1)))
    labels = at(y, np.floor(down + 0.5).astype(int), np.floor(right + 0.5).astype(int))
    image, labels = training.dihedral(rng, image, labels)
    return training.intensity(rng, image), labels.copy()


def starts(length):
    """Windows half a crop apart at most, spread evenly."""
    if length <= CROP:
        return [0]
    count = math.ceil((length - CROP) / (CROP * 0.5)) + 1
    return [round((length - CROP) / (count - 1) * i) for i in range(count)]


def labels_of(model, x):
    """Overlapping windows, their probabilities averaged under a Gaussian."""
    height, width = (max(n, CROP) for n in x.shape)
    x = x[mirrored(np.arange(height), x.shape[0])][:, mirrored(np.arange(width), x.shape[1])]
    g = np.exp(-0.5 * ((np.arange(CROP) - 0.5 * (CROP - 1)) / (0.125 * CROP)) ** 2)
    weight = torch.tensor(np.maximum(np.outer(g, g), 1e-3), dtype=torch.float32)
    total = torch.zeros(CLASSES, height, width)
    for top in starts(height):
        for left in starts(width):
            window = torch.tensor(x[None, None, top:top + CROP, left:left + CROP])
            total[:, top:top + CROP, left:left + CROP] += weight * model(window).softmax(1)[0]
    return total.argmax(0).numpy()


def score(model, samples, names):
    """Dice of each class by volume; a class that a volume lacks, and that is not claimed there, does not count."""
    model.eval()
    counts = {}
    with torch.no_grad():
        for (x, y), name in zip(samples, names):
            p = labels_of(model, x)[:y.shape[0], :y.shape[1]]
            volume = counts.setdefault(name.rsplit("_", 1)[0], np.zeros((CLASSES, 2)))
            for c in range(1, CLASSES):
                volume[c] += [2 * ((p == c) & (y == c)).sum(), (p == c).sum() + (y == c).sum()]
    return [float(np.mean([v[c][0] / v[c][1] for v in counts.values() if v[c][1] > 0])) for c in range(1, CLASSES)], len(counts)


def run(name, data, test, names, seed, steps):
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    seconds = training.train(name, model, training.batches(np.random.default_rng(seed), data, BATCH, crop_of), steps, RATE)
    dice, volumes = score(model, test, names)
    print(json.dumps({"peer": "pytorch " + torch.__version__, "network": name, "seed": seed, "steps": steps,
                      "parameters": M.count_params(model), "dice_right_ventricle": dice[0], "dice_myocardium": dice[1],
                      "dice_left_ventricle": dice[2], "dice_mean": float(np.mean(dice)), "volumes": volumes,
                      "training_seconds": seconds}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    data, test = (training.load(arguments.root, split, lambda mask: mask) for split in ("train", "test"))
    for name in arguments.network or NETWORKS:
        for seed in arguments.seed or [1]:
            run(name, data, test, training.stems(arguments.root, "test"), seed, arguments.steps)


if __name__ == "__main__":
    main()
