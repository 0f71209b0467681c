# SPDX-License-Identifier: MIT
"""What a comparison ran on."""
import importlib.metadata
import subprocess


def words_of(command):
    """The line of a version that names it; empty where there is no such program, or it fails."""
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return next((line for line in lines if "release" in line), lines[0] if lines else "")


def processor_name():
    with open("/proc/cpuinfo") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def device_name():
    return words_of(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])


def versions():
    """Of the packages that are there."""
    found = {}
    for package in ("torch", "onnxruntime", "openvino", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found
