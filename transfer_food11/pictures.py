"""A picture file of any kind as the pixels that a network sees."""

import struct
from pathlib import Path

from common.errors import UserError

import numpy as np
from PIL import Image, ImageOps

# What Pillow raises on damaged files, by format.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error)
DAMAGED += (Image.DecompressionBombError,)


def decode(path: Path, side: int) -> np.ndarray:
    """The central square of a picture, uint8 (3, side, side), turned upright.

    A JPEG much larger than `side` is decoded at a lower scale, which is several times as fast.

    Raises:
        UserError: the file is damaged or no image; says which and why.
    """
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * side, 2 * side))
            upright = to_rgb(ImageOps.exif_transpose(opened))
            square = ImageOps.fit(upright, (side, side), Image.Resampling.BICUBIC)
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as an image ({reason})") from error
    return np.asarray(square).transpose(2, 0, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB: transparent parts turn white, deep greys are scaled to 8 bits."""
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion would clip them to white
        levels = np.asarray(image, np.float32)
        full = 65535 if image.mode.startswith("I") else max(float(levels.max()), 1.0)
        image = Image.fromarray((levels * (255 / full)).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
