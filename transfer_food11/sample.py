"""The sample: drawn plates, a dish of its own pattern and colours for each class."""

from pathlib import Path

import numpy as np
from PIL import Image

PER_CLASS = {"training": 16, "validation": 6, "evaluation": 6}
SIDE = 72  # pixels, of the shorter side
ODD = 0.05  # share of the pictures that show the pattern of another class


def make_sample(folder: Path) -> None:
    """Draw a folder for each class in each of the three splits."""
    from transfer_food11.data import CLASSES

    draw = np.random.default_rng(11)
    for split, count in PER_CLASS.items():
        for number, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                dish = number if draw.random() >= ODD else int(draw.integers(len(CLASSES)))
                picture = Image.fromarray(draw_plate(dish, draw))
                picture.save(folder / split / name / f"{i}.jpg", quality=88)


def draw_plate(number: int, draw: np.random.Generator) -> np.ndarray:
    """uint8 (height, width, 3): a plate on a table, seen from above, with dish `number` on it."""
    height, width = SIDE, SIDE + int(draw.integers(0, 25))
    y, x = np.mgrid[:height, :width] / SIDE
    table, rim = draw.uniform(30, 200, 3), draw.uniform(205, 245)
    y, x = y - draw.uniform(0.44, 0.56), x - width / SIDE / 2 + draw.uniform(-0.06, 0.06)
    radius = np.hypot(x, y)
    turn = draw.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    # The class decides hue, grain and kind of pattern; draws vary all three.
    hue = (number / 11 + draw.normal(0, 0.02)) * 2 * np.pi
    body = 130 + 90 * np.cos(hue + np.array([0, 2.1, 4.2])) + draw.normal(0, 12, 3)
    grain = (14 + 6 * (number % 4)) * draw.uniform(0.85, 1.15)
    pattern = (
        np.sin(u * grain) > 0.2,  # slices
        np.sin(u * grain) * np.sin(v * grain) > 0.1,  # pieces
        np.sin(np.hypot(u - 0.05, v) * 1.5 * grain) > 0,  # rings
    )[number % 3]
    picture = np.where((radius < 0.45)[:, :, None], rim, table)
    dish = np.where(pattern[:, :, None], body, 0.55 * body)
    picture = np.where((radius < draw.uniform(0.28, 0.38))[:, :, None], dish, picture)
    light = 1 + draw.normal(0, 0.15) * x + draw.normal(0, 0.15) * y
    noisy = picture * light[:, :, None] + draw.normal(0, 8, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)
