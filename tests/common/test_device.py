"""common/device.py: what a device brings with it."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from common import device
device.choose("cpu")
size = 64 * 2**20  # bytes; the system maps pages of 4096
for _ in range(2):  # the heap grows in the first round
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(size, dtype=torch.uint8)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
assert faults < size / 4096 / 10, faults
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other habits")
def test_freed_memory_is_used_again_without_asking_the_system(root):
    """In a process of its own, for the heap of this one is what other tests made of it."""
    done = subprocess.run([sys.executable, "-c", FAULTS], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
