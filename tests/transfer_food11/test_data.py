"""Food-11: its layouts, the stand-in and its archive, the sample, few images of a class."""

import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from common.settings import UserError
from transfer_food11 import data

SIDE = 24
FOLDERS = {"train": "training", "val": "validation", "test": "evaluation"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the sample."""
    folder = tmp_path_factory.mktemp("data")
    data.load(SIDE, data="sample", data_dir=folder)
    return folder


@pytest.fixture
def copied(root, tmp_path):
    """The sample's folder, to be changed."""
    return shutil.copytree(root / "sample" / "food11", tmp_path / "mine" / "set")


def load(folder, **options):
    return data.load(SIDE, images=folder, data_dir=folder.parent, **options)


def numbered(copied, folder, splits):
    """The publisher's layout: files CLASS_ID.jpg in a folder for each split."""
    for inner in splits:
        (folder / inner).mkdir(parents=True)
        for number, name in enumerate(data.CLASSES):
            for i, file in enumerate(sorted((copied / inner / name).iterdir())):
                shutil.copyfile(file, folder / inner / f"{number}_{i:02}.jpg")
    return folder


def test_sample_has_the_eleven_classes_in_three_splits(root):
    source, dataset = data.load(SIDE, data="sample", data_dir=root)
    assert source.kind == "sample"
    assert dataset.classes == data.CLASSES
    assert dataset.counts == {"train": 176, "val": 66, "test": 66}
    files = [file for part in dataset.splits.values() for file in part.files]
    assert len(set(files)) == len(files)
    for name, part in dataset.splits.items():
        assert part.pixels.shape == (len(part), 3, SIDE, SIDE)
        for file, label in zip(part.files, part.labels.tolist(), strict=True):
            assert file.startswith(f"{FOLDERS[name]}/{dataset.classes[label]}/")


def test_numbered_files_are_the_same_set(copied, tmp_path):
    _, folders = load(copied)
    source, flat = load(numbered(copied, tmp_path / "flat", FOLDERS.values()))
    assert flat.classes == folders.classes == data.CLASSES
    assert source.kind == "real"
    assert len(source.checksum) == 16
    for name, part in folders.splits.items():
        assert torch.equal(part.labels.bincount(), flat.splits[name].labels.bincount())


@pytest.mark.parametrize("place", ["--images", "data/food11"])
def test_course_copy_with_an_unlabelled_test_folder(copied, tmp_path, place):
    """CASES 2: `testing/0001.jpg` has no class; the test split is cut from training."""
    folder = numbered(copied, tmp_path / "root" / "food11", ("training", "validation"))
    (folder / "testing").mkdir()
    for i, file in enumerate(sorted((copied / "evaluation").rglob("*.jpg"))):
        shutil.copyfile(file, folder / "testing" / f"{i:04}.jpg")
    if place == "--images":
        _, dataset = load(folder)
    else:
        source, dataset = data.load(SIDE, data_dir=tmp_path / "root")
        assert (source.name, source.kind) == ("Food-11", "real")
        assert source.note.startswith("not the whole Food-11, which has 9,866 train")
    assert dataset.classes == data.CLASSES
    assert dataset.counts["val"] == 66
    assert dataset.counts["train"] + dataset.counts["test"] == 176
    assert not any(f.startswith("testing") for p in dataset.splits.values() for f in p.files)
    notes = "\n".join(dataset.notes)
    assert "66 in testing" in notes
    assert "no folder for test: cut from training" in notes


def test_numbers_that_are_not_food11s_stay_numbers(copied, tmp_path):
    folder = numbered(copied, tmp_path / "flat", FOLDERS.values())
    for file in folder.rglob("10_*.jpg"):
        file.unlink()
    _, dataset = load(folder)
    assert dataset.classes == tuple("0123456789")


def test_folder_of_classes_is_split_here(copied):
    _, dataset = load(copied / "training")
    parts = [set(part.files) for part in dataset.splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 176
    assert all(part.labels.bincount().min() > 0 for part in dataset.splits.values())


def test_given_splits_stay_mapped(copied):
    """CASES 11: nothing is copied, a change in memory reaches no file, no file is replaced."""
    _, dataset = load(copied)
    (raw,) = (copied.parent / "cache").glob("images-*.raw")
    before = raw.stat()
    dataset.splits["train"].pixels[0] = 0
    _, again = load(copied)
    assert (raw.stat().st_ino, raw.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert again.splits["train"].pixels[0].any()
    assert again.splits["train"].pixels.untyped_storage().nbytes() == before.st_size
    assert again.key == dataset.key


def test_stand_in_is_named(copied):
    root = copied.parent
    with pytest.raises(UserError, match=r"kagglehub.*trolukovich/food11-image-dataset"):
        data.find("real", root)
    copied.rename(root / "food10")
    source = data.find("auto", root)
    assert (source.name, source.kind) == ("Ten dishes of Food-101", "real")
    assert source.note.startswith("STANDS IN FOR FOOD-11")


def archive(path, names):
    """A tar.gz as Food-101's, with a photograph of 512 x 384 for each of the names."""
    draw = np.random.default_rng(0)
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            content = io.BytesIO()
            pixels = draw.integers(0, 255, (12, 16, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
            Image.fromarray(pixels).save(content, "JPEG")
            member = tarfile.TarInfo(f"food-101/images/{name}.jpg")
            member.size = content.tell()
            content.seek(0)
            tar.addfile(member, content)
    return path


def test_food10_is_built_from_the_archive(tmp_path, monkeypatch, capsys):
    names = tmp_path / "food10.txt"
    names.write_text("training/apple_pie 1 22\nevaluation/beignets 3\n")
    monkeypatch.setattr(data, "FOOD10", names)
    wanted = ["apple_pie/1", "apple_pie/2", "beignets/3", "apple_pie/22", "sushi/1"]
    config = data.BuildConfig(archive(tmp_path / "food.tar.gz", wanted), tmp_path)
    data.build_food10(config)
    assert capsys.readouterr().out == f"3 images written to {tmp_path / 'food10'}\n"
    files = sorted((tmp_path / "food10").rglob("*.jpg"))
    assert [file.relative_to(tmp_path / "food10").as_posix() for file in files] == [
        "evaluation/beignets/3.jpg", "training/apple_pie/1.jpg", "training/apple_pie/22.jpg",
    ]  # fmt: skip
    with Image.open(files[0]) as image:
        assert image.size == (213, 160)
    config.archive = archive(tmp_path / "part.tar.gz", wanted[:2])
    with pytest.raises(UserError, match=r"lacks 2 of 3 images \(apple_pie/22.jpg\)"):
        data.build_food10(config)
    config.archive.write_bytes(config.archive.read_bytes()[:300])
    with pytest.raises(UserError, match=r"part.tar.gz cannot be read to its end"):
        data.build_food10(config)


def test_names_of_food10_are_whole():
    lines = [line.split() for line in data.FOOD10.read_text().splitlines()]
    counts = dict.fromkeys(FOLDERS.values(), 0)
    for place, *names in lines:
        counts[place.split("/")[0]] += len(names)
    assert counts == {"training": 3000, "validation": 750, "evaluation": 1100}
    assert len(lines) == 30
    assert len({(place.split("/")[1], name) for place, *own in lines for name in own}) == 4850


def test_draws_of_a_class_are_nested():
    labels = torch.from_numpy(np.repeat([0, 1, 2], [50, 30, 8]))
    few, more = (set(data.drawn(labels, count, 3).tolist()) for count in (5, 20))
    assert few < more
    assert len(few) == 15
    assert len(more) == 20 + 20 + 8
    assert set(data.drawn(labels, 5, 4).tolist()) != few
    assert data.drawn(labels, 0, 3).tolist() == list(range(88))


@pytest.mark.real
def test_the_stand_in_is_what_food10_lists(real_data):
    lines = [line.split() for line in data.FOOD10.read_text().splitlines()]
    listed = {f"{place}/{name}.jpg" for place, *names in lines for name in names}
    _, dataset = data.load(32, data="real", data_dir=real_data)
    assert {file for part in dataset.splits.values() for file in part.files} == listed


@pytest.mark.real
def test_whole_set_has_the_published_counts(real_data):
    if not (real_data / "food11").is_dir():
        pytest.skip(f"Food-11 is not in {real_data}")
    _, dataset = data.load(32, data="real", data_dir=real_data)
    assert dataset.classes == data.CLASSES
    assert dataset.counts == data.COUNTS
