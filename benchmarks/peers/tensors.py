# SPDX-License-Identifier: MIT
"""safetensors files as NumPy arrays: all that the comparison needs of the format, on machines without its package."""
import json
import os

import numpy as np

TYPES = {"F32": np.float32, "U8": np.uint8}


def read(path):
    """Views of the mapped file by name. They can be read, not written."""
    data = np.memmap(path, np.uint8, "r")
    start = 8 + int(data[:8].view(np.uint64)[0])
    header = json.loads(bytes(data[8:start]))
    header.pop("__metadata__", None)
    return {name: data[start + t["data_offsets"][0]:start + t["data_offsets"][1]].view(TYPES[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}


def write(path, arrays):
    """Whole or not at all."""
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))  # so that every element is aligned
    header, offset = {}, 0
    for name, array in arrays.items():
        kind = next(kind for kind, dtype in TYPES.items() if dtype == array.dtype)
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())
    os.replace(path + ".part", path)
