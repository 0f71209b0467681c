# SPDX-License-Identifier: MIT
"""Reads what `ptxas -v` says of the tile kernels and prints a table; see cuda_resources.sh."""
import re
import sys

ARITHMETIC = ("exact", "tf32", "bf16")
REGISTERS = 65536
SHARED = {"sm_80": 164, "sm_86": 100, "sm_89": 100, "sm_90": 228, "sm_90a": 228, "sm_100": 228, "sm_120": 100}  # KiB


def shared_bytes(arithmetic, rows, columns, depth_bytes, stages):
    """BlockTile::shared_bytes of convolution_tile.hpp."""
    pipeline = stages * (rows + columns) * depth_bytes
    staging = rows * (columns + 8) * 4
    return max(pipeline, staging) + rows * 8


def main():
    architecture = sys.argv[1]
    text = sys.stdin.read()
    entry = re.compile(
        r"Compiling entry function '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers",
        re.S,
    )
    tile = re.compile(
        r"(ConvolutionProgram|WeightGradientProgram)\w*?ArithmeticE(\d).*?MajorE\d"
        r"ELi(\d+)ELi(\d+)ELi(\d+)ELi(\d+)ELi(\d+)ELi(\d+)ELb(\d)EEELb(\d)"
    )
    serialised = re.findall(r"serialized.*?function '(\S+)'", text)
    bad = 0
    print(f"{architecture}: kernel, block tile, threads, registers, shared memory, blocks of a multiprocessor, warps")
    for name, stack, stores, loads, registers in entry.findall(text):
        found = tile.search(name)
        if not found:
            continue
        program, arithmetic, *numbers = found.groups()
        arithmetic = int(arithmetic)
        rows, columns, warp_rows, warp_columns, depth_bytes, stages, warpgroups, whole = map(int, numbers)
        if warpgroups and not architecture.endswith("a"):
            continue  # empty there
        threads = rows // warp_rows * (columns // warp_columns) * 32
        shared = shared_bytes(arithmetic, rows, columns, depth_bytes, stages)
        by_registers = REGISTERS // ((int(registers) + 7) // 8 * 8 * threads)
        by_shared = SHARED.get(architecture, 100) * 1024 // (shared + 1024)
        blocks = min(by_registers, by_shared, 2048 // threads)
        notes = []
        if int(stack) or int(stores) or int(loads):
            notes.append(f"SPILLS: stack {stack}, stores {stores}, loads {loads} bytes")
        if name in serialised:
            notes.append("SERIALISED products of warpgroups")
        if blocks < 1:
            notes.append("DOES NOT FIT")
        bad += len(notes)
        kind = "warpgroups" if warpgroups else ("whole" if whole else "general")
        print(
            f"  {'convolution' if program[0] == 'C' else 'weight gradient':15} {ARITHMETIC[arithmetic]:5} {kind:10}"
            f" {rows}x{columns:<4} {threads:4} {registers:>4} {shared / 1024:6.1f} KiB {blocks:3} {blocks * threads // 32:4}"
            f"  {'; '.join(notes)}"
        )
    if not entry.findall(text):
        print("no kernel found in the compiler's output")
        bad += 1
    sys.exit(1 if bad else 0)


main()
