"""The processes of one torchrun job; alone, a script is a job of one process.

`torchrun --nproc-per-node=N <project>/train.py` starts N copies and tells each its rank through
the environment. Every copy runs the same code; sums are added up over all, one process writes.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.settings import UserError

T = TypeVar("T")


def rank() -> int:
    """Number of this process in the job, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes in the job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Number of this process on its machine: the GPU that it takes."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """True in the one process that prints and writes."""
    return rank() == 0


def start(device: torch.device) -> None:
    """Join the job, once; nothing to do in a job of one."""
    if world_size() > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the job, so that no process waits for this one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def add_up(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def broadcast(value: Any) -> Any:
    """The main process's `value`, in every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def in_main(task: Callable[[], T]) -> T:
    """What `task` returns in the main process, in every process; the others do not run it.

    Raises:
        UserError: that of the main process, in every process.
    """
    if world_size() == 1:
        return task()
    result = error = None
    if is_main():
        try:
            result = task()
        except UserError as problem:
            error = problem
    result, error = broadcast((result, error))
    if error:
        raise error
    return result


def copy_main(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors of every process with the main one's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with gradients averaged over the processes."""
    if world_size() == 1:
        return model
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids)
