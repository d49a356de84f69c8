"""Batches of images made on the device: augmented sample by sample, normalised, all at once.

Each call handles a whole batch in a few tensor operations, with random numbers of its own for
every sample (torchvision's transforms draw one set of them for all of a batch), so that no worker
processes are needed on a CPU and no copies on a GPU.
"""

from dataclasses import dataclass

from common.batches import Loader, in_order, shuffled
from common.images import Images

import torch
from torch import Tensor
from torch.nn import functional as F

GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in brightness (ITU-R BT.601)
ERASED_AREA = (0.02, 0.25)  # share of the image, smallest and largest
ERASED_ASPECT = 3.0  # height to width, at most, and at least its inverse


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied; all zero leaves them as they are.

    padding: pixels added on each side before a crop of the old size is taken anywhere.
    flip: whether every second image is mirrored.
    jitter: brightness, contrast and saturation are multiplied by 1 - jitter to 1 + jitter.
    erase: share of the images that lose a rectangle (Zhong et al. 2017, "Random Erasing").
    """

    padding: int = 0
    flip: bool = False
    jitter: float = 0.0
    erase: float = 0.0


class Normalise:
    """uint8 pixels -> what the network sees: mean 0 and standard deviation 1 by channel.

    Evaluation and prediction call it with pixels alone, training with an augmentation. `mean` and
    `std`, (3,), lie on the device of the pixels.
    """

    def __init__(self, mean: Tensor, std: Tensor):
        self.mean, self.std = mean[:, None, None], std[:, None, None]  # (3, 1, 1)
        self.grey = torch.tensor(GREY, device=mean.device)
        self.fill = round(255 * float(mean.mean()))  # level of what a shift brings into view

    def __call__(self, pixels: Tensor, augmentation: Augmentation | None = None) -> Tensor:
        """uint8 (batch, 3, height, width) -> float32 of the same shape."""
        if augmentation is None:
            return self.colours(pixels, 0.0)
        if augmentation.padding:
            pixels = random_crop(pixels, augmentation.padding, self.fill)
        if augmentation.flip:
            pixels = random_flip(pixels)
        images = self.colours(pixels, augmentation.jitter)
        return random_erase(images, augmentation.erase) if augmentation.erase else images

    def colours(self, pixels: Tensor, jitter: float) -> Tensor:
        """Change the colours and normalise.

        Brightness b, contrast c about the mean grey m, and saturation s turn a colour x into
        c b (s x + (1 - s) grey(x)) + (1 - c) b m: with the normalisation that is one 3 x 3 matrix
        and one shift for each sample. Values are not clipped to the range of a picture.
        """
        if not jitter:
            return pixels.float().div_(255).sub_(self.mean).div_(self.std)
        flat = pixels.flatten(2).float().div_(255)  # (batch, 3, height x width)
        count, place = len(flat), flat.device
        factors = torch.empty(3, count, 1, 1, device=place).uniform_(1 - jitter, 1 + jitter)
        brightness, contrast, saturation = factors  # (batch, 1, 1) each
        colour = torch.eye(3, device=place)
        matrix = brightness * contrast * (saturation * colour + (1 - saturation) * self.grey)
        level = (flat.mean(2) @ self.grey).view(count, 1, 1)  # (batch, 1, 1)
        shift = (1 - contrast) * brightness * level - self.mean[:, 0]  # (batch, 3, 1)
        std = self.std[:, 0]  # (3, 1)
        return torch.baddbmm(shift / std, matrix / std, flat).view_as(pixels)


def random_crop(pixels: Tensor, padding: int, fill: int) -> Tensor:
    """Shift each image by up to `padding` pixels; what enters has the level `fill`."""
    count, _, height, width = pixels.shape
    padded = F.pad(pixels, [padding] * 4, value=fill)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (batch, 3, y, x, height, width)
    places = torch.randint(2 * padding + 1, (2, count), device=pixels.device)
    return windows[torch.arange(count, device=pixels.device), :, places[0], places[1]]


def random_flip(pixels: Tensor) -> Tensor:
    """Mirror each image with probability 1/2."""
    mirrored = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < 0.5
    return torch.where(mirrored, pixels.flip(3), pixels)


def random_erase(images: Tensor, share: float) -> Tensor:
    """Set a rectangle of a `share` of the images to 0, the mean colour, in place."""
    count, _, height, width = images.shape
    draw = torch.rand(5, count, device=images.device)  # chosen, area, aspect, y, x
    area = ERASED_AREA[0] + draw[1] * (ERASED_AREA[1] - ERASED_AREA[0])
    aspect = ERASED_ASPECT ** (2 * draw[2] - 1)
    tall = (height * (area * aspect).sqrt()).clamp(max=height).round()
    wide = (width * (area / aspect).sqrt()).clamp(max=width).round()
    top, left = (draw[3] * (height - tall + 1)).floor(), (draw[4] * (width - wide + 1)).floor()
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    rows = (y >= top[:, None]) & (y < (top + tall)[:, None])  # (batch, height)
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])  # (batch, width)
    inside = rows[:, :, None] & columns[:, None, :] & (draw[0] < share)[:, None, None]
    return images.masked_fill_(inside[:, None], 0.0)


def image_loader(
    images: Images,
    normalise: Normalise,
    batch_size: int,
    place: torch.device,
    *,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    shuffle: bool = False,
) -> Loader:
    """Batches (float32 (batch, 3, size, size), int64 (batch,)) of a split that lives on `place`.

    The pictures are laid out channels last, which convolutions prefer on GPUs and on CPUs.
    """
    pixels, labels = images.pixels.to(place), images.labels.to(place)

    def fetch(indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = indices.to(place)
        batch = normalise(pixels[indices], augmentation)
        return batch.contiguous(memory_format=torch.channels_last), labels[indices]

    count = len(images)
    plan = shuffled(count, batch_size, seed) if shuffle else in_order(count, batch_size)
    return Loader(plan, fetch)
