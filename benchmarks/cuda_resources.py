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


def heads_shared_bytes(arithmetic, size, kept):
    """HeadTiling::shared_bytes of attention_product.hpp."""
    row = size * (2 if ARITHMETIC[arithmetic] == "bf16" else 4)
    others = 64 if ARITHMETIC[arithmetic] == "bf16" else 32
    return max(kept * 64 * row + 4 * others * row, 64 * (size + 8) * 4 + 64 * 8)


TILE = re.compile(
    r"\d(Box|Turned)?(Convolution|WeightGradient|Winograd)Program\w*?ArithmeticE(\d).*?MajorE\d"
    r"ELi(\d+)ELi(\d+)ELi(\d+)ELi(\d+)ELi(\d+)ELi(\d+)ELb(\d)EEE(?:Lb(\d))?"
)
HEADS = re.compile(r"\d(Attention|QueryGradient|KeyGradient)Program\w*?ArithmeticE(\d)ELi(\d+)E")


def describe(name):
    """Product, arithmetic, kind, tile, threads, shared bytes, whether only sm_90a has it; None for other kernels."""
    if found := TILE.search(name):
        way, program, arithmetic, *numbers, whole = found.groups()
        rows, columns, warp_rows, warp_columns, depth_bytes, stages, warpgroups = map(int, numbers)
        threads = rows // warp_rows * (columns // warp_columns) * 32
        shared = shared_bytes(int(arithmetic), rows, columns, depth_bytes, stages)
        kind = way.lower() if way else "warpgroups" if warpgroups else "general" if whole == "0" else "whole"
        if way == "Box":
            threads, shared = threads + 32, shared + 16 * stages
        product = {"Convolution": "convolution", "WeightGradient": "weight gradient", "Winograd": "winograd"}[program]
        return product, ARITHMETIC[int(arithmetic)], kind, f"{rows}x{columns}", threads, shared, warpgroups
    if found := HEADS.search(name):
        program, arithmetic, size = found.groups()
        shared = heads_shared_bytes(int(arithmetic), int(size), 1 if program == "Attention" else 2)
        product = {"Attention": "attention", "QueryGradient": "query gradient", "KeyGradient": "key gradient"}[program]
        return product, ARITHMETIC[int(arithmetic)], "heads", f"64x{size}", 128, shared, False
    return None


def main():
    architecture = sys.argv[1]
    text = sys.stdin.read()
    entry = re.compile(
        r"Compiling entry function '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers",
        re.S,
    )
    serialised = re.findall(r"serialized.*?function '(\S+)'", text)
    bad = 0
    print(f"{architecture}: kernel, block tile, threads, registers, shared memory, blocks of a multiprocessor, warps")
    for name, stack, stores, loads, registers in entry.findall(text):
        found = describe(name)
        if not found:
            continue
        product, arithmetic, kind, tile, threads, shared, hopper = found
        if hopper and not architecture.endswith("a"):
            continue  # empty there
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
        print(
            f"  {product:15} {arithmetic:5} {kind:10} {tile:8} {threads:4} {registers:>4} {shared / 1024:6.1f} KiB"
            f" {blocks:3} {blocks * threads // 32:4}  {'; '.join(notes)}"
        )
    if not entry.findall(text):
        print("no kernel found in the compiler's output")
        bad += 1
    sys.exit(1 if bad else 0)


main()
