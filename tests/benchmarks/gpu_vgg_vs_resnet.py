"""ResNet-18 with the small stem on a GPU: images/s, and the share of the card's matrix rate.

python tests/benchmarks/gpu_vgg_vs_resnet.py

20,000 pictures of noise, 64 x 64, in batches of 128, cropped, mirrored, recoloured and erased.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.augmentation import Augmentation, Normalise, image_loader
from common.batches import Loader
from common.images import Images
from common.report import count_flops

import torch
from torch import nn
from torch.nn import functional as F

from vgg_vs_resnet.model import ResNet18

SIZE, BATCH = 64, 128


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


def main(steps: int = 40) -> None:
    place = torch.device("cuda")
    peak = matrix_rate(place)
    print(
        f"  {torch.cuda.get_device_name()}: {peak / 1e12:,.0f} bfloat16 TFLOP/s in matrix products"
    )
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20_000, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(len(pixels)) % 3, [])
    normalise = Normalise(torch.full((3,), 0.5, device=place), torch.full((3,), 0.25, device=place))
    how = Augmentation(padding=6, flip=True, jitter=0.2, erase=0.25)
    loader = image_loader(images, normalise, BATCH, place, augmentation=how, shuffle=True)
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
    model: nn.Module, loader: Loader, steps: int, half: bool, layout: torch.memory_format
) -> float:
    """Images/s of training, input included, after warming up."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    warm = 8
    for step, (images, labels) in enumerate(loader.epoch(0)):
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


if __name__ == "__main__":
    main()
