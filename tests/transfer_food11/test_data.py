"""Food-11: both layouts, given splits, own folders, and pictures of every kind."""

import shutil

from common.errors import UserError
from common.images import decode, find_classes

import numpy as np
import pytest
import torch
from PIL import Image

from transfer_food11 import data

SIDE = 24


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the sample."""
    folder = tmp_path_factory.mktemp("data")
    data.load(SIDE, data="sample", data_dir=str(folder))
    return folder


@pytest.fixture
def copied(root, tmp_path):
    """The sample's folder, to be changed."""
    return shutil.copytree(root / "sample" / "food11", tmp_path / "mine" / "set")


def load(folder, **options):
    return data.load(SIDE, images=str(folder), data_dir=str(folder.parent), **options)


def test_sample_has_the_eleven_classes_in_three_splits(root):
    source, found = data.load(SIDE, data="sample", data_dir=str(root))
    assert source.kind == "sample"
    assert found.classes == data.CLASSES
    assert {name: len(part) for name, part in found.splits.items()} == {
        "train": 176, "val": 66, "test": 66,
    }  # fmt: skip
    files = [file for part in found.splits.values() for file in part.files]
    assert len(set(files)) == len(files)
    for name, part in found.splits.items():
        assert part.pixels.shape == (len(part), 3, SIDE, SIDE)
        for file, label in zip(part.files, part.labels.tolist(), strict=True):
            assert file.startswith(f"{data.FOLDERS[name]}/{found.classes[label]}/")


def test_numbered_files_are_the_same_set(copied, tmp_path):
    flat = tmp_path / "flat"
    for inner in data.FOLDERS.values():
        (flat / inner).mkdir(parents=True)
        for number, files in enumerate(find_classes(copied / inner).values()):
            for i, file in enumerate(files):
                shutil.copyfile(copied / inner / file, flat / inner / f"{number}_{i:02}.jpg")
    _, folders = load(copied)
    _, numbered = load(flat)
    assert numbered.classes == folders.classes == data.CLASSES
    for name, part in folders.splits.items():
        assert torch.equal(part.labels, numbered.splits[name].labels)
        assert torch.equal(part.pixels, numbered.splits[name].pixels)


def test_folder_of_classes_is_split_here(copied):
    _, found = load(copied / "training")
    parts = [set(part.files) for part in found.splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 176
    assert all(part.labels.bincount().min() > 0 for part in found.splits.values())


def test_odd_and_broken_pictures(copied):
    inside = copied / "training" / "Soup"
    whole = (inside / "0.jpg").read_bytes()
    (inside / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (inside / "text.png").write_text("no picture")
    Image.new("RGB", (1, 1), (200, 10, 10)).save(inside / "dot.png")
    Image.new("L", (20_000, 3), 90).save(inside / "long.png")
    Image.new("1", (20_000, 20_000)).save(inside / "huge.png")
    _, found = load(copied)
    train = found.splits["train"]
    assert len(train) == 176 + 2
    names = [file.rsplit("/", 1)[1] for file in train.files]
    assert train.pixels[names.index("dot.png")].float().mean((1, 2)).tolist() == [200, 10, 10]
    skipped = [note for note in found.notes if note.startswith("skipped")]
    assert len(skipped) == 3
    for name in ("half.jpg", "text.png", "huge.png"):
        assert any(name in note and "cannot be read as an image" in note for note in skipped)
    # What lies after the skipped ones is still each with its own pixels.
    for name, part in found.splits.items():
        last = copied / part.files[-1]
        assert torch.equal(part.pixels[-1], torch.tensor(decode(last, SIDE))), name


def test_store_is_mapped_and_made_again_when_it_is_not_whole(copied):
    cache = copied.parent / "cache"
    _, first = load(copied)
    (raw,) = cache.glob("pictures-*.raw")
    made = raw.stat().st_mtime_ns
    first.splits["train"].pixels[0] = 0  # a change in memory reaches no file
    _, again = load(copied)
    assert raw.stat().st_mtime_ns == made
    assert again.splits["train"].pixels[0].any()
    expected = again.splits["test"].pixels.clone()
    part = raw.read_bytes()[:1000]
    raw.unlink()  # what is mapped must not shrink
    raw.write_bytes(part)
    _, repaired = load(copied)
    assert raw.stat().st_size == (176 + 66 + 66) * 3 * SIDE * SIDE
    assert torch.equal(repaired.splits["test"].pixels, expected)
    assert not [path for path in cache.iterdir() if path.suffix not in (".raw", ".json", ".lock")]


def test_repeats_of_training_pictures_are_counted_and_stay(copied):
    for name in ("0.jpg", "1.jpg"):
        target = copied / "evaluation" / "Rice" / f"again{name}"
        shutil.copyfile(copied / "training" / "Rice" / name, target)
    _, found = load(copied)
    assert len(found.splits["test"]) == 68
    (note,) = [note for note in found.notes if "in test:" in note and "near" in note]
    assert int(note.split(": ")[1].split(",")[0]) >= 2


def test_splits_of_other_classes_are_one_sentence(copied):
    shutil.rmtree(copied / "validation" / "Soup")
    with pytest.raises(UserError, match=r"validation lacks the class Soup and training has it"):
        load(copied)
    shutil.copytree(copied / "training" / "Soup", copied / "validation" / "Soup")
    shutil.copytree(copied / "training" / "Soup", copied / "evaluation" / "Stew")
    with pytest.raises(UserError, match=r"evaluation has the class Stew and training lacks it"):
        load(copied)


def test_too_little_is_one_sentence(copied, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds images of 0 classes"):
        load(tmp_path / "empty")
    for name in data.CLASSES[1:]:
        shutil.rmtree(copied / "training" / name)
    with pytest.raises(UserError, match="holds images of 1 classes"):
        load(copied)


def test_nothing_readable_is_one_sentence(copied):
    for file in (copied / "evaluation").rglob("*.jpg"):
        file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="evaluation holds no picture that can be read"):
        load(copied)
    for file in copied.rglob("*.jpg"):
        file.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"no picture in .* can be read: .*cannot be read as an im"):
        load(copied)


def test_stand_in_is_named(copied):
    root = copied.parent
    with pytest.raises(UserError, match=r"kagglehub.*trolukovich/food11-image-dataset"):
        data.find("real", str(root))
    copied.rename(root / "food10")
    source = data.find("auto", str(root))
    assert (source.name, source.kind) == ("Ten dishes of Food-101", "real")
    assert source.note.startswith("STANDS IN FOR FOOD-11")
    (root / "food10").rename(root / "food11")
    source, found = data.load(SIDE, data="real", data_dir=str(root))
    assert (source.name, source.note) == ("Food-11", "")
    assert "warning: 176 pictures in training, and Food-11 has 9,866" in found.notes


def test_draws_of_a_class_are_nested():
    labels = torch.from_numpy(np.repeat([0, 1, 2], [50, 30, 8]))
    few, more = (set(data.drawn(labels, count, 3).tolist()) for count in (5, 20))
    assert few < more
    assert len(few) == 15
    assert len(more) == 20 + 20 + 8
    assert set(data.drawn(labels, 5, 4).tolist()) != few
    assert data.drawn(labels, 0, 3).tolist() == list(range(88))


@pytest.mark.real
def test_whole_set_has_the_published_counts(real_data):
    if not (real_data / "food11").is_dir():
        pytest.skip(f"Food-11 is not in {real_data}")
    _, found = data.load(32, data="real", data_dir=str(real_data))
    assert found.classes == data.CLASSES
    assert {name: len(part) for name, part in found.splits.items()} == data.COUNTS
