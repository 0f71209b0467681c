#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a device does at most, through PyTorch, as JSON: floating-point operations a second of 8192 x 8192 matrix products
in each precision, and bytes a second, read and written, of copying 1 GiB."""
import json
import sys

import torch

SIZE, BYTES = 8192, 2**30


def seconds_of(work, times):
    """Of one, the best of several rounds."""
    work()
    best = float("inf")
    for _ in range(4):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(times):
            work()
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) / 1e3 / times)
    return best


def product_rate(dtype, tf32, times):
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.randn(SIZE, SIZE, device="cuda").to(dtype) for _ in range(2))
    c = torch.empty_like(a)
    return 2 * SIZE**3 / seconds_of(lambda: torch.matmul(a, b, out=c), times)


def main():
    a = torch.randn(BYTES // 4, device="cuda")
    b = torch.empty_like(a)
    rates = {"bytes_per_second": 2 * BYTES / seconds_of(lambda: b.copy_(a), 20)}
    del a, b
    rates["bf16"] = product_rate(torch.bfloat16, True, 20)
    rates["tf32"] = product_rate(torch.float32, True, 10)
    rates["fp32"] = product_rate(torch.float32, False, 3)
    json.dump(rates, sys.stdout)


if __name__ == "__main__":
    main()
