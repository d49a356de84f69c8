"""The device, its precision, and the seed of every random number."""

import ctypes
import platform
import random
from typing import Any

from common import distributed
from common.errors import SettingError, require

import numpy as np
import torch
from torch import Tensor

# Options of glibc's mallopt, in malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD = 64 * 2**20  # bytes by which the heap grows at least


def choose(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda or cuda:N; auto takes a GPU where there is one.

    In a torchrun job each process takes the GPU of its local rank.

    Raises:
        SettingError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(
            f"--device {name} is not known: choose auto, cpu, cuda or cuda:N"
        ) from error
    require(device.type in ("cpu", "cuda"), f"--device {name} is not supported: choose cpu or cuda")
    if device.type == "cpu":
        keep_freed_memory()
        return device
    require(
        torch.cuda.is_available(),
        f"--device {name}: PyTorch sees no CUDA GPU here; choose --device cpu or auto",
    )
    if device.index is None:
        device = torch.device("cuda", distributed.local_rank())
    count = torch.cuda.device_count()
    require(
        device.index < count, f"--device {device} does not exist: this machine has {count} GPU(s)"
    )
    torch.cuda.set_device(device)
    return device


def keep_freed_memory() -> None:
    """Let a CPU's tensors take the memory that earlier ones freed (Linux, glibc).

    By default glibc hands large blocks back to the system at once, and each step pays for having
    the same pages cleared and mapped again: up to a third of the time of convolutional networks.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, TOP_PAD)):
            libc.mallopt(option, value)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (CPU and GPUs)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that draw from the global state
    torch.manual_seed(seed)


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch (tensor, or tuple, list or dict of batches) on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass; bfloat16 needs no gradient scaler.

    Raises:
        SettingError: bfloat16 was asked for and the GPU lacks it.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    require(
        precision != "bfloat16" or able or device.type == "cpu",
        "--precision bfloat16: this GPU has no bfloat16; choose --precision float32",
    )
    enabled = precision == "bfloat16" or (precision == "auto" and able)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def describe(device: torch.device) -> str:
    """The hardware in words, for records."""
    import os
    import platform

    if device.type == "cuda":
        return f"{distributed.world_size()} x {torch.cuda.get_device_name(device)}"
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = {line.split(":", 1)[1].strip() for line in lines if "model name" in line}
        processor = ", ".join(sorted(names)) or processor
    except OSError:
        pass  # not Linux
    return f"{os.cpu_count()} cores, {processor}"
