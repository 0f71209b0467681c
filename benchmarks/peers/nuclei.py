#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The PyTorch side of benchmarks/nuclei: the same recipe, models.py's networks, one line of JSON for each result.

Same data, crops, augmentation, loss, optimizer, schedule, initialisation and scoring as benchmarks/nuclei/recipe.hpp;
the random numbers differ.

  nuclei.py DIR [--network NAME]... [--seed S]... [--steps N]
"""
import argparse
import json

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import models as M
import training

WIDTH, CROP, BATCH, RATE = 16, 128, 8, 1e-3
EXTENTS = [(256, 256), (256, 320), (384, 384), (544, 704), (1024, 1024)]


def r2unet_per_step(**arguments):
    """R2U-Net with running statistics of its own for each step, as Ulna's default has."""
    model = M.r2unet(**arguments)
    for module in model.modules():
        if isinstance(module, M.RecurrentConv):
            module.norms = nn.ModuleList([nn.BatchNorm2d(module.norm.num_features) for _ in range(module.t + 1)])
            for other in module.norms[1:]:  # scale and shift are shared
                other.weight, other.bias = module.norms[0].weight, module.norms[0].bias
            del module.norm
            module.forward = lambda x, m=module: recurrent(m, x)
    return model


def recurrent(m, x):
    y = F.relu(m.norms[0](m.conv(x)))
    for step in range(m.t):
        y = F.relu(m.norms[step + 1](m.conv(x + y)))
    return y


class WideUNet(nn.Module):
    """A U-Net of any widths: the transposed convolutions halve to the width of the level that they reach."""

    def __init__(self, cin, classes, widths):
        super().__init__()
        self.enc = nn.ModuleList([M.DoubleConv(a, b) for a, b in zip([cin, *widths], widths)])
        pairs = list(zip(widths[:0:-1], widths[-2::-1]))
        self.up = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs])
        self.dec = nn.ModuleList([M.DoubleConv(2 * b, b) for _, b in pairs])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.enc):
            x = block(x if i == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for up, block, skip in zip(self.up, self.dec, skips[-2::-1]):
            x = block(torch.cat([skip, up(x)], 1))
        return self.head(x)


class FCN8s(nn.Module):
    """FCN-8s over a VGG-16 encoder with batch norm; scores are summed and interpolated."""

    def __init__(self, cin, classes, width):
        super().__init__()
        w = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        hidden = 64 * width
        self.stage = nn.ModuleList()
        for i, (a, b) in enumerate(zip([cin, *w], w)):
            convs = []
            for k in range(2 if i < 2 else 3):
                convs += [nn.Conv2d(a if k == 0 else b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
            self.stage.append(nn.Sequential(*convs, nn.MaxPool2d(2)))
        self.fc = nn.Sequential(nn.Conv2d(w[4], hidden, 7, padding=3, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
                                nn.Dropout(0.5), nn.Conv2d(hidden, hidden, 1, bias=False), nn.BatchNorm2d(hidden),
                                nn.ReLU(), nn.Dropout(0.5))
        self.score = nn.ModuleList([nn.Conv2d(c, classes, 1) for c in (hidden, w[3], w[2])])

    def forward(self, x):
        pools = []
        for stage in self.stage:
            x = stage(x)
            pools.append(x)
        y = self.score[0](self.fc(x))
        y = F.interpolate(y, scale_factor=2, mode="bilinear") + self.score[1](pools[3])
        y = F.interpolate(y, scale_factor=2, mode="bilinear") + self.score[2](pools[2])
        return F.interpolate(y, scale_factor=8, mode="bilinear")


NETWORKS = {
    "unet": lambda: M.unet(1, 2, WIDTH),
    "wide_unet": lambda: WideUNet(1, 2, (18, 35, 70, 140, 280)),
    "unet++": lambda: M.unetpp(1, 2, tuple(WIDTH << i for i in range(5)), deep_supervision=True),
    "fcn8s": lambda: FCN8s(1, 2, WIDTH),
    "r2unet": lambda: r2unet_per_step(cin=1, classes=2, width=WIDTH),
    "attention_unet": lambda: M.attention_unet(1, 2, WIDTH),
}


def crop_of(rng, x, y):
    top, left = rng.integers(0, y.shape[0] - CROP + 1), rng.integers(0, y.shape[1] - CROP + 1)
    x, y = training.dihedral(rng, *(a[top:top + CROP, left:left + CROP] for a in (x, y)))
    if rng.random() < 0.3:
        x = x.min() + x.max() - x
    return training.intensity(rng, x), y


def score(model, samples):
    model.eval()
    ious, dices = [], []
    with torch.no_grad():
        for x, y in samples:
            height, width = next(e for e in EXTENTS if e[0] >= y.shape[0] and e[1] >= y.shape[1])
            padded = np.pad(x, ((0, height - y.shape[0]), (0, width - y.shape[1])), "reflect")
            heads = training.heads_of(model(torch.tensor(padded)[None, None]))
            p = (sum(heads) / len(heads)).argmax(1)[0].numpy()[:y.shape[0], :y.shape[1]]
            both, either = ((p == 1) & (y == 1)).sum(), ((p == 1) | (y == 1)).sum()
            ious.append(both / either if either else 1.0)
            dices.append(2 * both / (either + both) if either else 1.0)
    return float(np.mean(ious)), float(np.mean(dices))


def run(name, data, test, seed, steps):
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    seconds = training.train(name, model, training.batches(np.random.default_rng(seed), data, BATCH, crop_of), steps, RATE)
    iou, dice = score(model, test)
    print(json.dumps({"peer": "pytorch " + torch.__version__, "network": name, "seed": seed, "steps": steps,
                      "parameters": M.count_params(model), "iou": iou, "dice": dice, "training_seconds": seconds}),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    data, test = (training.load(arguments.root, split, lambda mask: mask > 0) for split in ("train", "test"))
    for name in arguments.network or NETWORKS:
        for seed in arguments.seed or [1]:
            run(name, data, test, seed, arguments.steps)


if __name__ == "__main__":
    main()
