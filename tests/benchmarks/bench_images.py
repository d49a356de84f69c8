"""How fast pictures reach the network, and a training step, beside the usual way.

    python tests/benchmarks/bench_images.py [pictures]

The usual way: torchvision's ImageFolder, a transform for each picture, a DataLoader with two
workers, contiguous tensors, the loss fetched with .item() at each step. Both ways crop, mirror,
change colours, erase and normalise the same pictures, 64 x 64, in batches of 128. On a GPU:
images/s of ResNet-18 with the small stem, and its share of the card's measured matrix rate.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import training
from common.augmentation import Augmentation, Normalise, image_loader
from common.images import Images, ImageSet, load_folder
from common.report import count_flops

import torch
from torch import nn
from torch.nn import functional as F
from torchvision import datasets
from torchvision.transforms import v2

from vgg_vs_resnet import data
from vgg_vs_resnet.model import ResNet18

SIZE, BATCH, SHIFT, JITTER, ERASE = 64, 128, 6, 0.2, 0.25
CPU = torch.device("cpu")


def usual_loader(folder: Path, found: ImageSet) -> Iterable:
    """ImageFolder, transforms picture by picture, two workers."""
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomCrop(SIZE, padding=SHIFT),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(JITTER, JITTER, JITTER),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(found.mean.tolist(), found.std.tolist()),
            v2.RandomErasing(ERASE),
        ]
    )
    pictures = datasets.ImageFolder(str(folder), transform)
    return torch.utils.data.DataLoader(pictures, BATCH, shuffle=True, num_workers=2)


def our_loader(images: Images, found: ImageSet, place: torch.device) -> Iterable:
    """As the projects' train.py."""
    normalise = Normalise(found.mean.to(place), found.std.to(place))
    how = Augmentation(SHIFT, True, JITTER, ERASE)
    loader = image_loader(images, normalise, BATCH, place, augmentation=how, shuffle=True)
    return Epochs(lambda: loader.epoch(0))


class Epochs:
    """Something to iterate over again and again."""

    def __init__(self, start: Callable[[], Iterable]):
        self.start = start

    def __iter__(self):
        return iter(self.start())


def images_per_second(loader: Iterable) -> float:
    """Of one epoch without a network."""
    began, count = time.perf_counter(), 0
    for images, _ in loader:
        count += len(images)
    return count / (time.perf_counter() - began)


class Speed(NamedTuple):
    """Of an epoch of training."""

    by_clock: float  # images a second
    by_processor: float  # images a second of processor time, workers included
    outside: float  # share of the time outside forward, backward and optimizer


def train(loader: Iterable, fetch_loss: bool, half: bool = False) -> Speed:
    """An epoch of ResNet-18, in float32 and contiguous or in bfloat16 and channels last.

    On a machine that does other things too, processor time is the fairer measure.
    """
    torch.manual_seed(0)
    layout = torch.channels_last if half else torch.contiguous_format
    model = ResNet18(3).to(memory_format=layout)
    optimizer = torch.optim.SGD(
        training.parameter_groups(model, 5e-4), lr=0.01, momentum=0.9, nesterov=True
    )
    total, count, inside = torch.zeros(()), 0, 0.0
    began, processor = time.perf_counter(), processor_seconds()
    for images, labels in loader:
        entered = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(images.contiguous(memory_format=layout)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        inside += time.perf_counter() - entered
        total += loss.item() if fetch_loss else loss.detach()
        count += len(images)
    seconds = time.perf_counter() - began
    return Speed(count / seconds, count / (processor_seconds() - processor), 1 - inside / seconds)


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def on_cpu(found: ImageSet, folder: Path) -> None:
    everything = Images(
        torch.cat([part.pixels for part in found.splits.values()]),
        torch.cat([part.labels for part in found.splits.values()]),
        [],
    )
    loaders = {"usual": usual_loader(folder, found), "ours": our_loader(everything, found, CPU)}
    speeds = {name: images_per_second(loader) for name, loader in loaders.items()}
    for name, speed in speeds.items():
        print(f"  input alone, {name:<6} {speed:10,.0f} images/s")
    ratio = speeds["ours"] / speeds["usual"]
    print(f"  ours is {ratio:.1f} times as fast (floor: 10)")
    trained = {
        "usual": train(loaders["usual"], fetch_loss=True),
        "ours": train(loaders["ours"], fetch_loss=False),
        "ours, bfloat16": train(loaders["ours"], fetch_loss=False, half=True),
    }
    for name, speed in trained.items():
        by_clock, by_processor = (speed[i] / trained["usual"][i] for i in range(2))
        print(
            f"  ResNet-18, {name:<14} {speed.by_clock:6.1f} images/s ({by_clock:.2f} x usual), "
            f"{speed.by_processor:6.1f} a second of processor time ({by_processor:.2f} x), "
            f"{speed.outside:.1%} outside the step"
        )
    assert ratio >= 10


def matrix_rate(place: torch.device, side: int = 8192, repeats: int = 20) -> float:
    """Floating-point operations a second of a bfloat16 matrix product."""
    left = torch.randn(side, side, device=place, dtype=torch.bfloat16)
    for number in range(repeats + 3):
        if number == 3:
            torch.cuda.synchronize()
            began = time.perf_counter()
        left @ left
    torch.cuda.synchronize()
    return 2 * side**3 * repeats / (time.perf_counter() - began)


def on_gpu(found: ImageSet, steps: int = 40) -> None:
    place = torch.device("cuda")
    peak = matrix_rate(place)
    print(
        f"  {torch.cuda.get_device_name()}: {peak / 1e12:,.0f} bfloat16 TFLOP/s in matrix products"
    )
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20_000, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(len(pixels)) % 3, [])
    loader = our_loader(images, found, place)
    for half, last, compiled in (
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
    ):
        layout = torch.channels_last if last else torch.contiguous_format
        model = ResNet18(3, "small").to(place, memory_format=layout)
        flops = 3 * count_flops(model, (torch.zeros(1, 3, SIZE, SIZE, device=place),))
        if compiled:
            model.compile()
        speed = gpu_speed(model, loader, steps, half, layout)
        words = ["bfloat16" if half else "float32", "channels last" if last else "contiguous"]
        words += ["compiled"] * compiled
        print(f"  {', '.join(words):<38} {speed:9,.0f} images/s, {speed * flops / peak:.1%} of it")


def gpu_speed(
    model: nn.Module, loader: Iterable, steps: int, half: bool, layout: torch.memory_format
) -> float:
    """Images/s of training, input included, after warming up."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    warm = 8
    for step, (images, labels) in enumerate(loader):
        if step == warm:
            torch.cuda.synchronize()
            began = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(images.contiguous(memory_format=layout)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step + 1 == warm + steps:
            break
    torch.cuda.synchronize()
    return steps * BATCH / (time.perf_counter() - began)


def main() -> None:
    pictures = int(sys.argv[1]) if len(sys.argv) > 1 else 1920
    folder = Path(tempfile.mkdtemp())
    try:
        source = data.find("auto", "")
        for name in data.CLASSES:  # as many as asked for, alike in both ways
            (folder / "set" / name).mkdir(parents=True)
            for path in sorted((source.folder / name).iterdir())[: pictures // 3]:
                shutil.copyfile(path, folder / "set" / name / path.name)
        began = time.perf_counter()
        found = load_folder(folder / "set", SIZE, folder / "cache")
        decoding = time.perf_counter() - began
        print(
            f"{source.name}, {source.kind}: {pictures} pictures, decoded once in {decoding:.1f} s, "
            f"{torch.get_num_threads()} threads"
        )
        on_cpu(found, folder / "set")
        if torch.cuda.is_available():
            on_gpu(found)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
