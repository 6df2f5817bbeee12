"""Reading a safetensors file of somebody else's: every size is checked before memory is taken for it.

The format (https://github.com/huggingface/safetensors): eight bytes with the length of a JSON header, the header with
each array's dtype, shape and place, then the arrays without gaps. Nothing in it can be executed. The reader is our
own so that what it refuses, and with which error, does not change with a library's version.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mbpo.training.plain_files import open_plain

MAX_HEADER_BYTES = 1 << 20
MAX_ARRAY_BYTES = 1 << 40
MAX_DIMENSIONS = 32
DTYPES = {
    "BOOL": "?",
    **{f"I{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}


@dataclass(frozen=True)
class TensorPlace:
    """Where an array lies in a file, and what it is."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    """Bytes from the beginning of the file."""
    size: int
    """Bytes."""


def read_header(path: Path) -> dict[str, TensorPlace]:
    """The arrays of a file by name, none of them read.

    Raises:
        ValueError: It is no such file, or what it says of itself is not true.
        OSError: It cannot be read.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        header, data_start = _header(file, size)
    places, stop = {}, 0
    for name, place in header.items():
        if name != "__metadata__":
            places[name] = _place(name, place, data_start)
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].size)):
        if place.start != data_start + stop:
            raise ValueError(f"'{name}' does not begin where the array before it ends")
        stop += place.size
    if data_start + stop != size:
        raise ValueError(f"its arrays take {stop} bytes, and it holds {size - data_start}")
    return places


def read_tensor(path: Path, place: TensorPlace) -> np.ndarray:
    """One array, a copy.

    Raises:
        ValueError: The file is shorter than its header said, or a boolean is neither 0 nor 1.
        OSError: It cannot be read.
    """
    with open_plain(path) as file:
        file.seek(place.start)
        data = file.read(place.size)
    if len(data) != place.size:
        raise ValueError("the file ends before the array does")
    if place.dtype == np.bool_ and place.size and np.max(np.frombuffer(data, np.uint8)) > 1:
        raise ValueError("a boolean is neither 0 nor 1")
    return np.frombuffer(data, place.dtype).reshape(place.shape).copy()


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
        raise ValueError("it does not begin with the length of a header that it could hold")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a mapping")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _place(name: str, place: Any, data_start: int) -> TensorPlace:
    try:
        dtype = np.dtype(DTYPES[place["dtype"]])
        shape, (start, stop) = tuple(place["shape"]), place["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"what it says of '{name}' is not a dtype, a shape and two offsets") from error
    if any(type(number) is not int or number < 0 for number in (*shape, start, stop)):
        raise ValueError(f"the shape or the offsets of '{name}' are not whole numbers of at least 0")
    # Empty arrays have sides too, which NumPy multiplies.
    if len(shape) > MAX_DIMENSIONS or math.prod(max(side, 1) for side in shape) * dtype.itemsize > MAX_ARRAY_BYTES:
        raise ValueError(f"'{name}' claims to be too large")
    size = math.prod(shape) * dtype.itemsize
    if stop - start != size:
        raise ValueError(f"'{name}' takes {stop - start} bytes, and its shape says {size}")
    return TensorPlace(dtype, shape, data_start + start, size)
