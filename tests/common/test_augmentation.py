"""Augmentation: each operation is its definition, drawn anew for every sample."""

from common.augmentation import (
    Augmentation,
    Normalise,
    image_loader,
    random_crop,
    random_erase,
    random_flip,
)
from common.images import Images, channel_statistics

import torch

PLACE = torch.device("cpu")


def normalise():
    return Normalise(torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4]))


def random_pixels(count=64, size=12):
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


def test_normalise_is_the_definition():
    pixels = random_pixels()
    mean, std = map(torch.from_numpy, channel_statistics(pixels).values())
    made = Normalise(mean, std)(pixels)
    assert made.mean((0, 2, 3)).abs().max() < 1e-5
    assert (made.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_crop_is_a_window_of_the_padded_image_and_differs_by_sample():
    pixels = random_pixels(200, 6)
    padded = torch.nn.functional.pad(pixels, [2] * 4, value=9)
    seen = set()
    for made, source in zip(random_crop(pixels, 2, 9), padded, strict=True):
        places = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(source[:, y : y + 6, x : x + 6], made)
        ]
        assert places
        seen.update(places)
    assert len(seen) == 25


def test_flip_mirrors_about_half_of_the_samples():
    pixels = random_pixels(400)
    made = random_flip(pixels)
    mirrored = (made == pixels.flip(3)).flatten(1).all(1)
    kept = (made == pixels).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 150 < int(mirrored.sum()) < 250


def test_erasing_sets_one_rectangle_of_a_share_of_the_samples():
    made = random_erase(torch.ones(400, 3, 16, 16), 0.5)
    erased = made[:, 0] == 0
    assert torch.equal(made[:, 0], made[:, 2])
    chosen = erased.flatten(1).any(1)
    assert 150 < int(chosen.sum()) < 250
    rectangle = erased.any(1).sum(1) * erased.any(2).sum(1)
    assert torch.equal(rectangle, erased.sum((1, 2)))
    assert 0 < rectangle[chosen].float().mean() / 256 < 0.25


def test_jitter_is_torchvisions_formula_sample_by_sample(monkeypatch):
    """Brightness, contrast and saturation in turn, without clipping, equal the one matrix."""
    factors = torch.tensor([[1.1, 0.9], [0.8, 1.3], [1.2, 0.7]])  # (3, samples)
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda self, *_: self.copy_(factors[..., None, None])
    )
    pixels = random_pixels(2)
    made = normalise().colours(pixels, 0.3)
    grey = torch.tensor([0.299, 0.587, 0.114])
    for i in range(2):
        brightness, contrast, saturation = factors[:, i]
        image = pixels[i].float() / 255 * brightness
        level = torch.einsum("chw,c->hw", image, grey).mean()
        image = contrast * image + (1 - contrast) * level
        image = saturation * image + (1 - saturation) * torch.einsum("chw,c->hw", image, grey)
        expected = (image - normalise().mean) / normalise().std
        assert torch.allclose(made[i], expected, atol=1e-5)


def test_loader_augments_training_and_repeats_with_the_seed():
    images = Images(random_pixels(10), torch.arange(10), [str(i) for i in range(10)])
    wild = Augmentation(padding=2, flip=True, jitter=0.2, erase=0.5)
    made = []
    for augmentation in (wild, wild, None):
        torch.manual_seed(3)
        loader = image_loader(
            images, normalise(), 4, PLACE, seed=1, augmentation=augmentation, shuffle=True
        )
        made.append(list(loader.epoch(2)))
    for (first, labels), (second, _), (plain, _) in zip(*made, strict=True):
        assert torch.equal(first, second)
        assert not torch.equal(first, plain)
        assert torch.equal(plain, normalise()(images.pixels[labels]))
    assert sorted(torch.cat([labels for _, labels in made[0]]).tolist()) == list(range(10))
