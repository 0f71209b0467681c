# SPDX-License-Identifier: MIT
"""Builds Ulna's side: the programs of benchmarks/networks, with CMake for the CPU and with nvcc for a device."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program_name(network, mode, precision):
    return f"{network}_{mode}_{precision}"


def timed(command, **arguments):
    """Runs it; seconds, and gigabytes of the largest process."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, **arguments)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"failed: {shlex.join(command)}")
    return {"compile_seconds": time.perf_counter() - begin, "compile_gb": usage.ru_maxrss / 2**20}


def build_for_cpu(build, names, jobs, time_compiler):
    """The folder of the programs, and facts about each."""
    subprocess.run(["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DULNA_NATIVE=ON",
                    "-DULNA_BUILD_TESTS=OFF", "-DULNA_BUILD_EXAMPLES=OFF", "-DULNA_BUILD_BENCHMARKS=ON",
                    "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "--log-level=WARNING"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build, "--parallel", str(jobs), "--target", *(f"ulna_network_{n}" for n in names)],
                   check=True, stdout=sys.stderr)
    folder = f"{build}/benchmarks/networks"
    facts = {name: {} for name in names}
    if time_compiler:
        with open(f"{build}/compile_commands.json") as file:
            commands = [shlex.split(entry["command"]) for entry in json.load(file)]
        for name in names:
            command = next(c for c in commands if f"/ulna_network_{name}.dir/" in c[c.index("-o") + 1])
            if os.path.basename(command[0]) == "ccache":
                command = command[1:]
            command[command.index("-o") + 1] = os.devnull
            facts[name] = timed(command, cwd=build)
    return folder, facts


def compiler_of_devices():
    return shutil.which("nvcc") or next((p for p in ["/usr/local/cuda/bin/nvcc"] if os.path.exists(p)), None)


def build_for_device(build, names, jobs, architecture):
    """The folder of the programs, and facts about each, or why there is none. CUDA programs need nothing but the toolkit and
    Ulna's headers."""
    folder = f"{build}/networks_cuda"
    os.makedirs(folder, exist_ok=True)

    def compile_one(name):
        network, mode, precision = re.fullmatch(r"(\w+)_(inference|training)_(\w+)", name).groups()
        with open(f"{folder}/{name}.log", "w") as log:
            try:
                return name, timed([compiler_of_devices(), "-std=c++20", "-O3", "-DNDEBUG", "--expt-relaxed-constexpr", "-gencode",
                                    f"arch=compute_{architecture},code=sm_{architecture}", f"-I{ROOT}/include",
                                    f"-DNETWORK={network}", f"-DMODE={mode.capitalize()}", f"-DPRECISION={precision}", "-x", "cu",
                                    f"{ROOT}/benchmarks/networks/program.cpp", "-o", f"{folder}/{name}"], stdout=log, stderr=log)
            except SystemExit:  # the others go on without it
                return name, {"failed": f"could not be compiled: see {log.name}"}

    names = sorted(names, key=lambda name: ("training" not in name, "unet" == name.partition("_")[0]))  # the longest first
    with ThreadPoolExecutor(jobs) as pool:
        return folder, dict(pool.map(compile_one, names))


def stripped_bytes(program):
    with tempfile.NamedTemporaryFile() as stripped:
        if not os.path.exists(program):
            return None
        if shutil.which("strip") is None or subprocess.run(["strip", "-o", stripped.name, program]).returncode:
            return None
        return os.path.getsize(stripped.name)
