"""The three-class set, own folders, augmentation, loaders, baselines, plots of mistakes."""

import pytest
import torch
from PIL import Image

from common import images
from common.images import (
    Augmentation,
    Images,
    Normalise,
    channel_statistics,
    image_loader,
    make_loaders,
    random_crop,
    random_erase,
    random_flip,
)
from common.runs import History
from common.settings import SettingError, UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return images.load(32, data="sample", data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def baselines(sample, tmp_path_factory):
    return images.linear_baselines(sample[1], tmp_path_factory.mktemp("cache"))


def test_sample_is_learnable_and_not_trivial(sample, baselines):
    source, image_set = sample
    assert (source.kind, image_set.classes) == ("sample", images.CLASSES)
    for part, count in (("train", 210), ("val", 45), ("test", 45)):
        assert image_set.splits[part].labels.bincount().tolist() == [count] * 3
    metrics, _ = baselines
    assert metrics["largest class"]["test_accuracy"] == pytest.approx(1 / 3)
    assert 0.6 < metrics["linear on gradients and colours"]["test_accuracy"] < 0.99
    # Colour alone gives nothing away.
    train, test = image_set.splits["train"], image_set.splits["test"]
    colours = train.pixels.float().mean((2, 3))  # (images, 3)
    centres = torch.stack([colours[train.labels == label].mean(0) for label in range(3)])
    nearest = torch.cdist(test.pixels.float().mean((2, 3)), centres).argmin(1)
    assert (nearest == test.labels).float().mean() < 0.5


def test_sample_is_the_same_each_time(sample, tmp_path):
    images.make_sample(tmp_path)
    for name in ("dogs/dogs_0000.jpg", "vehicles/vehicles_0299.jpg"):
        assert (tmp_path / name).read_bytes() == (sample[0].folder / name).read_bytes()


def test_own_folder(sample, tmp_path):
    folder = sample[0].folder
    source, image_set = images.load(32, images=folder, data_dir=tmp_path, per_class=20)
    assert (source.kind, source.note) == ("real", "at most 20 a class")
    assert sum(image_set.counts.values()) == 60
    other, _ = images.load(32, images=folder, data_dir=tmp_path, per_class=21)
    assert len(source.checksum) == len(other.checksum) == 16
    assert source.checksum != other.checksum


def test_real_set_that_cannot_be_had_says_where_to_put_it(tmp_path):
    for name in images.CLASSES[:2]:
        (tmp_path / "dogs_food_vehicles" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "dogs_food_vehicles" / name / "1.jpg")
    with pytest.raises(UserError, match=r"vehicles missing in .* name a folder with --images"):
        images.load(32, data="real", data_dir=tmp_path)


def test_predictions_of_the_baselines_give_their_metrics(sample, baselines):
    test = sample[1].splits["test"]
    metrics, predictions = baselines
    assert metrics.keys() == predictions.keys()
    for name, predicted in predictions.items():
        assert (predicted == test.labels.numpy()).mean() == metrics[name]["test_accuracy"]


@pytest.mark.parametrize(("losses", "expected"), [((1.0, 3.0, 2.0), 1.5 / 2), ((1.0,), 0.0)])
def test_fluctuation_is_the_mean_relative_change(losses, expected):
    best = {"epoch": 1, "val_accuracy": 0.5, "val_loss": 1.0}
    rows = [{"val_loss": loss, "seconds": 1, "samples_per_second": 1} for loss in losses]
    metrics = images.training_metrics(History(rows, best), {"accuracy": 0.75, "loss": 0.8})
    assert metrics["fluctuation"] == pytest.approx(expected)
    assert metrics["gap"] == 0.25


def test_features_are_those_of_64_pixels():
    pixels = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    large = pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert images.features(pixels).shape == (3, 9 * 8 * 8 + 3 * 4 * 4)
    assert torch.allclose(images.features(large), images.features(pixels), atol=1e-5)


def test_mistakes_are_drawn_surest_first():
    shown = Images(random_pixels(6), torch.tensor([0, 0, 0, 1, 1, 1]), [])
    right, wrong = [0.2, 0.8], [0.9, 0.1]
    probabilities = torch.tensor([[0.8, 0.2], right, [0.3, 0.7], [0.2, 0.8], wrong, [0.1, 0.9]])
    drawn = images.draw_mistakes(shown, {"net": probabilities}, ("cat", "狗"), shown=2)
    first, second = (axis.get_title() for axis in drawn.axes)
    assert first.startswith("狗 taken for\ncat, 90%") or first.startswith("1 taken for\n0, 90%")
    assert second.endswith("80%")


def test_loaders_of_a_set(sample):
    _, image_set = sample
    loaders = make_loaders(image_set, 64, CPU, seed=0, augmentation=Augmentation(flip=True))
    assert {name: loader.samples for name, loader in loaders.items()} == {
        "train": 630, "train plain": 135, "val": 135, "test": 135,
    }  # fmt: skip
    pixels, labels = map(torch.cat, zip(*loaders["val"].whole(), strict=True))
    val = image_set.splits["val"]
    assert torch.equal(labels, val.labels)
    normalise = Normalise(*image_set.statistics)
    assert torch.allclose(pixels, normalise(val.pixels), atol=1e-6)
    first, _ = next(loaders["train"].whole())
    assert first.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_class": -1}, "--per-class must be at least 0"),
        ({"max_megapixels": 0}, "--max-megapixels must be at least 1"),
        ({"images": "x", "data": "sample"}, "--images names your own images"),
    ],
)
def test_impossible_settings_are_one_sentence(settings, message):
    usual = {"per_class": 0, "max_megapixels": 500, "images": None, "data": "auto"}
    with pytest.raises(SettingError, match=message):
        images.check_settings(type("Config", (), usual | settings))


# Augmentation: each operation is its definition, drawn again for every sample.


def normalise():
    return Normalise(torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4]))


def random_pixels(count=64, size=12):
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


def test_normalise_is_the_definition():
    pixels = random_pixels()
    mean, std = channel_statistics(pixels)
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


def test_erasing_sets_one_rectangle_of_a_fraction_of_the_samples():
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
        loader = image_loader(images, normalise(), 4, CPU, seed=1, augmentation=augmentation)
        made.append([batch for parts in loader.epoch(2) for batch, _ in parts])
    for (first, labels), (second, _), (plain, _) in zip(*made, strict=True):
        assert torch.equal(first, second)
        assert not torch.equal(first, plain)
        assert torch.equal(plain, normalise()(images.pixels[labels]))
    assert sorted(torch.cat([labels for _, labels in made[0]]).tolist()) == list(range(10))
