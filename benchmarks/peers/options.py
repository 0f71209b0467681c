# SPDX-License-Identifier: MIT
"""The command line of benchmarks/run.sh."""
import argparse
import os
import subprocess
import sys

import machine
import networks
import programs
import speed


def require_device(arguments):
    """Ends with all that is missing."""
    missing = []
    if not arguments.build_only:
        if not machine.device_name():
            missing.append("an NVIDIA device (nvidia-smi finds none)")
        child = subprocess.run([sys.executable, "-c", "import torch, sys; sys.exit(not torch.cuda.is_available())"], capture_output=True)
        if child.returncode:
            missing.append(f"a PyTorch that can use it ({sys.executable} has none; PYTHON names another)")
    if not arguments.programs and not programs.compiler_of_devices():
        missing.append("nvcc, of the CUDA Toolkit (or --programs DIR, compiled elsewhere)")
    if missing:
        raise SystemExit("--cuda needs what this machine has not: " + "; ".join(missing))
    if not arguments.architecture:
        capability = machine.words_of(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]).replace(".", "")
        arguments.architecture = {"90": "90a"}.get(capability, capability or "90a")


def parse(command, description):
    parser = argparse.ArgumentParser(prog="benchmarks/run.sh", description=description)
    parser.add_argument("--network", action="append", choices=networks.NETWORKS, help="which (default: all)")
    parser.add_argument("--peers", default="pytorch,onnxruntime,openvino", 
                        help="which, by commas; or single settings, such as pytorch:channels_last+compile (default: %(default)s)")
    parser.add_argument("--inference", action="store_true", help="not training")
    parser.add_argument("--training", action="store_true", help="not inference")
    parser.add_argument("--precision", help="which, by commas (default: fp32,bf16; on a device tf32,bf16)")
    parser.add_argument("--batch", type=int, action="append", help="default: inference 1, training 2; on a device 1 and 16, 16")
    parser.add_argument("--quick", action="store_true", help="fewer iterations")
    parser.add_argument("--rounds", type=int, help="so many iterations of each side")
    parser.add_argument("--threads", type=int, help="of every side (default: all)")
    parser.add_argument("--json", help="a file for every figure, versions and the command")
    parser.add_argument("--compile-time", action="store_true", help="time the compiler, too (without its cache)")
    parser.add_argument("--cuda", action="store_true", help="on a device, against the PyTorch that is installed")
    parser.add_argument("--minutes", type=float, help="what does not fit is left out, and listed (with --cuda: 8, building included)")
    parser.add_argument("--architecture", help="compile for it (default: the device's, or 90a)")
    parser.add_argument("--build-only", action="store_true", help="compile the programs and stop (for --programs)")
    parser.add_argument("--programs", help="a folder of programs that were compiled before")
    arguments = parser.parse_args(command)
    arguments.command = command
    arguments.build = os.environ["BUILD_DIR"]
    arguments.jobs = int(os.environ.get("JOBS", "1"))
    arguments.modes = [m for m in ("inference", "training") if getattr(arguments, m)] or ["inference", "training"]
    arguments.peers = arguments.peers.split(",")
    if unknown := {peer.partition(":")[0] for peer in arguments.peers} - set(speed.FRAMEWORKS):
        parser.error(f"--peers: there is no {', '.join(sorted(unknown))}; there are {', '.join(speed.FRAMEWORKS)}")
    arguments.precision = (arguments.precision or ("tf32,bf16" if arguments.cuda else "fp32,bf16")).split(",")
    offered = ["fp32", "tf32", "bf16"] if arguments.cuda else ["fp32", "bf16"]
    if unknown := set(arguments.precision) - set(offered):
        parser.error(f"--precision: there is no {', '.join(sorted(unknown))} here; there are {', '.join(offered)}")
    if arguments.cuda and arguments.minutes is None:
        arguments.minutes = 8.0
    return arguments
