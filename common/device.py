"""The device, its threads and its precision, and the seed of every random number."""

import ctypes
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import distributed
from common.settings import SettingError, Settings, require, warn

# Options of glibc's mallopt, in malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD = 64 * 2**20  # bytes by which the heap grows at least


def choose(name: str) -> torch.device:
    """The device called `name`; auto takes a CUDA GPU where there is one, else the CPU.

    In a torchrun job each process takes the GPU of its local rank. `mps` (Apple) is passed on to
    torch as it is, untried.

    Raises:
        SettingError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(
            f"--device {name} is not known: choose auto, cpu, cuda, cuda:N or mps"
        ) from error
    require(
        device.type in ("cpu", "cuda", "mps"),
        f"--device {name} is not supported: choose cpu, cuda or mps",
    )
    if device.type == "cpu":
        keep_freed_memory()
    elif device.type == "mps":
        require(torch.backends.mps.is_available(), "--device mps: PyTorch sees no Apple GPU here")
    else:
        require(
            torch.cuda.is_available(),
            f"--device {name}: PyTorch sees no CUDA GPU here; choose --device cpu or auto",
        )
        if device.index is None:
            device = torch.device("cuda", distributed.local_rank())
        count = torch.cuda.device_count()
        require(
            device.index < count,
            f"--device {device} does not exist: this machine has {count} GPU(s)",
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


def set_threads(config: Settings) -> int:
    """Use `--threads` threads of the CPU; 0 is what the project gains from. Returns the count.

    A thread that waits for one on a busy core slows a small model down many times, which is why a
    project that hardly gains from a second thread takes one. The others set GOMP_SPINCOUNT before
    torch is loaded (GNU's OpenMP reads it then): a thread that waits for the others sleeps after
    1,000 looks in place of 300,000, and leaves the busy core to what is at work there. That makes
    them 1.2 to 2 times as fast beside another program, and 3 to 8 % slower on idle cores.
    """
    if config.threads:
        most = os.cpu_count() or config.threads
        if config.threads > most:
            warn(f"--threads {config.threads} is more than there are cores: {most} are used")
        torch.set_num_threads(min(config.threads, most))
    elif config.ONE_THREAD:
        torch.set_num_threads(1)
    return torch.get_num_threads()


def choose_precision(device: torch.device, config: Settings) -> str:
    """What `--precision` means here: float32 or bfloat16 (autocast; needs no gradient scaler).

    auto is bfloat16 on a GPU that computes in it, and on a CPU that does where the project gains.

    Raises:
        SettingError: bfloat16 was asked for and the GPU lacks it.
    """
    is_gpu = device.type == "cuda"
    gpu_able = is_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision != "auto":
        require(
            config.precision == "float32" or gpu_able or not is_gpu,
            "--precision bfloat16: this GPU has no bfloat16; choose --precision float32",
        )
        return config.precision
    on_cpu = device.type == "cpu" and config.BFLOAT16_ON_CPU
    return "bfloat16" if gpu_able or (on_cpu and cpu_gains_from_bfloat16()) else "float32"


def cpu_gains_from_bfloat16() -> bool:
    """Whether a convolution in bfloat16 takes this processor clearly less time than in float32.

    Instructions for it (AMX, AVX512-BF16) are needed, and not enough: some processors are slower
    with them. So it is measured, in 0.1 s: the processor's own time, whatever else runs.
    """
    queries = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    if not any(getattr(torch.cpu, query, lambda: False)() for query in queries):
        return False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)  # the run's own random numbers stay as they are
    images = torch.randn(16, 128, 16, 16, generator=generator)
    kernels = torch.randn(128, 128, 3, 3, generator=generator)
    images, kernels = (each.to(memory_format=torch.channels_last) for each in (images, kernels))
    seconds = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            pair = images.to(dtype), kernels.to(dtype)
            torch.conv2d(*pair, padding=1)  # prepares
            began = time.thread_time()
            for _ in range(3):
                torch.conv2d(*pair, padding=1)
            seconds[dtype] = time.thread_time() - began
    torch.set_num_threads(threads)
    return seconds[torch.float32] > 1.25 * seconds[torch.bfloat16]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass in float32 or bfloat16."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


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


def describe(device: torch.device) -> str:
    """The hardware in words, for records."""
    if device.type == "cuda":
        return f"{distributed.world_size()} x {torch.cuda.get_device_name(device)}"
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():  # Linux
        lines = information.read_text(encoding="utf-8").splitlines()
        names = {line.split(":", 1)[1].strip() for line in lines if "model name" in line}
        processor = ", ".join(sorted(names)) or processor
    return f"{os.cpu_count()} cores, {processor}"


def peak_memory_mb(device: torch.device) -> float:
    """The most memory that was used so far, of the GPU or of this process, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if os.name != "posix":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
