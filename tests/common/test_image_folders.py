"""Image folders: what users bring, decoding, the file of pixels, near-duplicates, splits."""

import io
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common import image_folders
from common.image_folders import decode, list_folder, near_duplicates, stratified
from common.images import load_folder
from common.settings import UserError

FRACTIONS = (0.15, 0.15)


def image(seed, size=(20, 16)):
    """Smooth random colours, unlike those of any other seed."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def fill(folder, count, seed=0, ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image(1000 * seed + i).save(folder / f"{i:03}.{ending}")


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("cat", "dog", "fox")):
        fill(tmp_path / "set" / name, 20 + 4 * number, seed=number)
    return tmp_path / "set"


def load(folder, size=8, **how):
    return load_folder(folder, size, folder.parent / "cache", **how)


def files_of(image_set):
    return {name: set(part.files) for name, part in image_set.splits.items()}


def has(notes, *words):
    return any(all(word in note for word in words) for note in notes)


def test_splits_are_stratified_disjoint_and_complete(folder):
    image_set = load(folder)
    parts = files_of(image_set)
    assert not parts["train"] & (parts["val"] | parts["test"])
    assert not parts["val"] & parts["test"]
    assert len(set.union(*parts.values())) == 20 + 24 + 28
    for name, fraction in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        counts = image_set.splits[name].labels.bincount().tolist()
        assert counts == pytest.approx([fraction * n for n in (20, 24, 28)], abs=1.01), name
    for part in image_set.splits.values():
        for pixels, label, file in zip(part.pixels, part.labels, part.files, strict=True):
            assert image_set.classes[label] == file.split("/")[0]
            assert np.array_equal(pixels.numpy(), decode(folder / file, 8))
    assert files_of(load(folder)) == parts


def test_statistics_are_those_of_the_training_split_alone(folder):
    before = load(folder)
    pixels = before.splits["train"].pixels.double() / 255
    flat = pixels.transpose(0, 1).flatten(1)  # (3, values)
    mean, std = before.statistics
    assert torch.allclose(mean, flat.mean(1).float(), atol=1e-6)
    assert torch.allclose(std, flat.std(1, correction=0).float(), atol=1e-5)
    for i, file in enumerate(before.splits["test"].files + before.splits["val"].files):
        image(9000 + i).point(lambda level: level // 2).save(folder / file)
    after = load(folder)
    assert files_of(after) == files_of(before)
    assert not torch.equal(after.splits["test"].pixels, before.splits["test"].pixels)
    assert all(map(torch.equal, after.statistics, before.statistics))


# CASES 1 and 2: the folder has its splits.


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training", "validation", "evaluation"),
        ("TRAIN", "VALID", "TEST"),
        ("Train", "dev", "testing"),
        ("seg_train", "seg_val", "seg_test"),
        ("Training Set", "Validation Set", "Test Set"),
        ("TrainSet", "ValSet", "TestSet"),
        ("traindata", "valdata", "testdata"),
        ("trn", "vld", "tst"),
        ("train", "validate", "holdout"),
        ("train", "val2", "test1"),
        ("train", "valid", None),
        ("training", None, "eval"),
        ("train", None, None),
    ],
)
def test_given_splits_are_used(tmp_path, train, val, test):
    for number, name in enumerate(("cat", "dog")):
        for place, split in enumerate((train, val, test)):
            if split:
                fill(tmp_path / "set" / split / name, 20 - 7 * place, 10 * number + place)
    image_set = load(tmp_path / "set")
    assert image_set.classes == ("cat", "dog")
    for name, split, count in (("val", val, 26), ("test", test, 12)):
        if split:
            assert image_set.counts[name] == count
            assert all(file.startswith(f"{split}/") for file in image_set.splits[name].files)
        else:  # cut from training
            assert image_set.counts[name] == 6
            assert all(file.startswith(f"{train}/") for file in image_set.splits[name].files)
            assert has(image_set.notes, "there is no folder for", name, "cut from training")
    assert sum(image_set.counts.values()) == 40 + (26 if val else 0) + (12 if test else 0)


@pytest.mark.parametrize("names", ["test,control", "train,plane,bus", "train station,test tube"])
def test_classes_that_are_called_like_splits_stay_classes(tmp_path, names):
    for number, name in enumerate(names.split(",")):
        fill(tmp_path / "set" / name, 12, number)
    assert set(load(tmp_path / "set").classes) == set(names.split(","))


def test_folders_around_the_splits_and_around_the_classes(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        for place, name in enumerate("ab"[: 2 - number // 2]):  # test has one class
            inner = tmp_path / "set" / "outer" / split / ("images" if number < 2 else "")
            fill(inner / name, 12, 2 * number + place)
    image(99).save(tmp_path / "set" / "banner.png")
    image_set = load(tmp_path / "set")
    assert image_set.counts == {"train": 24, "val": 24, "test": 12}
    assert has(image_set.notes, "left out, beside it: 1")
    assert has(image_set.notes, "warning: no images in test of b")


@pytest.mark.parametrize("names", ["entrenamiento,prueba", "val,test", "fold0,fold1"])
def test_folders_that_hold_the_same_classes_are_a_warning(tmp_path, names):
    for number, name in enumerate(names.split(",")):
        fill(tmp_path / "set" / name / "cat", 12, 2 * number)
        fill(tmp_path / "set" / name / "dog", 12, 2 * number + 1)
    image_set = load(tmp_path / "set")
    assert set(image_set.classes) == set(names.split(","))
    assert has(image_set.notes, "warning", "each holds cat, dog: if they are splits, name them")


@pytest.mark.parametrize("name", ["{}/{}/{}/{:02}.png", "{}/{}/{}.{:02}.png"])
def test_folders_in_folders_of_the_same_name(tmp_path, name):
    """Kaggle's archives: train/train/cat/00.png, train/train/cat.00.png; beside it one more."""
    for split, count in (("train", 12), ("test1", 5)):
        for place, label in enumerate(("cat", "dog")):
            for i in range(count):
                path = tmp_path / "set" / name.format(split, split, label, i)
                path.parent.mkdir(parents=True, exist_ok=True)
                image(1000 * count + 100 * place + i).save(path)
    image(1).save(tmp_path / "set" / "train" / "cover.png")
    image_set = load(tmp_path / "set")
    assert (image_set.classes, image_set.counts["test"]) == (("cat", "dog"), 10)
    assert image_set.counts["train"] + image_set.counts["val"] == 24


def test_splits_inside_the_classes_are_a_warning(tmp_path):
    for number, name in enumerate("abab"):
        fill(tmp_path / "set" / name / ("train", "test")[number // 2], 12, number)
    assert has(load(tmp_path / "set").notes, "inside the classes are not used as splits")


def test_training_images_in_the_test_folder_are_counted_though_val_is_cut(tmp_path):
    for split in ("train", "test"):
        for number, name in enumerate("ab"):
            fill(tmp_path / "set" / split / name, 12, number)
    assert has(load(tmp_path / "set").notes, "near-duplicates of training images", "there: 24")
    for path in (tmp_path / "set" / "train").glob("*/0[01]?.png"):
        if int(path.stem) > 2:
            path.unlink()
    with pytest.raises(UserError, match="val cannot be cut from training, for every class has"):
        load(tmp_path / "set")


def test_classes_that_a_split_lacks_are_named(tmp_path):
    for split, classes in (("train", "abc"), ("val", "ab"), ("test", "abz"), ("extra", "a")):
        for number, name in enumerate(classes):
            fill(tmp_path / "set" / split / name, 12, ord(split[1]) + number)
    image_set = load(tmp_path / "set")
    assert image_set.classes == ("a", "b", "c")
    assert has(image_set.notes, "warning: no images in val of c")
    assert has(image_set.notes, "warning: no images in test of c")
    assert has(image_set.notes, "left out of test, for training lacks them: z")
    assert has(image_set.notes, "left out: extra (the splits that are read: train, val, test)")
    assert image_set.counts == {"train": 36, "val": 24, "test": 24}


def test_classes_spelt_otherwise_in_another_split_are_the_same(tmp_path):
    names = {"Cat": "cat", "caf\u00e9": "cafe\u0301", "hot  dog ": "Hot dog"}
    for number, (train, test) in enumerate(names.items()):
        fill(tmp_path / "set" / "train" / train, 12, 2 * number)
        fill(tmp_path / "set" / "test" / test, 3, 2 * number + 1)
    image_set = load(tmp_path / "set")
    assert set(image_set.classes) == set(names)
    assert image_set.splits["test"].labels.bincount().tolist() == [3, 3, 3]
    assert has(image_set.notes, "though spelt otherwise", "test/cat as Cat", "test/Hot dog as hot")
    # Where two could be meant, only the same letters count.
    assert image_folders.same_names(["ox", "OX"], ["ox"]) == {"ox": "ox", "OX": "OX"}
    assert image_folders.same_names(["ox"], ["Ox", "ox"]) == {"ox": "ox"}


def test_splits_of_a_folder_are_mapped_and_not_copied(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        fill(tmp_path / "set" / split / "a", 6, 2 * number)
        fill(tmp_path / "set" / split / "b", 6, 2 * number + 1)
    image_set = load(tmp_path / "set")
    starts = [part.pixels.untyped_storage().data_ptr() for part in image_set.splits.values()]
    assert len(set(starts)) == 1
    # Near-duplicates of training images stay where the folder has them, and are counted.
    image(0).save(tmp_path / "set" / "test" / "a" / "copy.png")
    assert has(load(tmp_path / "set").notes, "near-duplicates of training images", "left there: 1")


def course_copy(folder):
    """Food-11 as a course hands it out: classes in the names, a test folder without labels."""
    for number, (split, count) in enumerate((("training", 12), ("validation", 3))):
        (folder / split).mkdir(parents=True)
        for label in range(11):
            for i in range(count):
                image(1000 * number + 20 * label + i).save(folder / split / f"{label}_{i}.jpg")
    (folder / "testing").mkdir()
    for i in range(5):
        image(5000 + i).save(folder / "testing" / f"{i:04}.jpg")


def test_course_copy_of_food_11(tmp_path):
    course_copy(tmp_path / "set")
    image_set = load(tmp_path / "set")
    assert image_set.classes == tuple(map(str, range(11)))  # in the order of numbers
    assert has(image_set.notes, "left out", "5 in testing")
    assert has(image_set.notes, "there is no folder for test: cut from training")
    assert image_set.counts["val"] == 33
    assert sum(image_set.counts.values()) == 12 * 11 + 33
    for part in image_set.splits.values():
        for file, label in zip(part.files, part.labels.tolist(), strict=True):
            assert Path(file).name.startswith(f"{label}_")


def test_classes_in_file_names_and_a_folder_around_all(tmp_path):
    top = tmp_path / "download" / "archive" / "train"
    top.mkdir(parents=True)
    for i in range(12):
        image(i).save(top / f"cat.{i}.png")
        image(100 + i).save(top / f"hot dog ({i}).png")
    image(200).save(top / "cover.png")
    listed, notes = list_folder(tmp_path / "download")
    assert {name: len(files) for name, files in listed["train"].items()} == {
        "cat": 12,
        "hot dog": 12,
    }
    assert has(notes, "taken from the names of its files")
    assert has(notes, "train but of no class: 1")


# CASES 3, 4 and 9: what lies beside the images, links, names.


def test_what_is_ignored_is_said_in_one_note(folder):
    for i in range(55):
        (folder / "cat" / f"IMG_{i}.heic").write_bytes(b"apple's")
    (folder / "cat" / "Thumbs.db").touch()
    for hidden in ("._x.jpg", ".DS_Store"):
        (folder / "cat" / hidden).write_text("hidden")
    fill(folder / ".ipynb_checkpoints", 12)
    (folder / "bird").mkdir()
    image_set = load(folder)
    assert image_set.classes == ("cat", "dog", "fox")
    assert has(image_set.notes, "55 .heic", "1 .db", "install pillow-heif")
    assert has(image_set.notes, "folders without images: bird")
    assert not has(image_set.notes, "ipynb")
    assert not has(image_set.notes, "DS_Store")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_and_dangling_ones_are_damaged(folder, tmp_path):
    fill(tmp_path / "elsewhere", 15, 7)
    (folder / "owl").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "fox" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "fox" / "round").symlink_to(folder)  # would never end
    image_set = load(folder)
    assert image_set.classes == ("cat", "dog", "fox", "owl")
    assert sum(image_set.counts.values()) == 72 + 15 + 15
    assert has(image_set.notes, "gone.png cannot be read as an image (No such file or directory)")
    assert has(image_set.notes, "warning: 15 images lie in more than one class")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_between_classes_end_and_pipes_are_no_images(folder):
    (folder / "cat" / "others").symlink_to(folder / "dog")
    (folder / "dog" / "others").symlink_to(folder / "cat")
    os.mkfifo(folder / "fox" / "pipe.png")  # reading it would wait for ever
    image_set = load(folder)
    assert sum(image_set.counts.values()) == 72 + 20 + 24
    assert has(image_set.notes, "pipe.png cannot be read as an image (not a file)")


def test_a_folder_that_may_not_be_read_is_a_warning(folder, monkeypatch):
    def scandir(path):
        if str(path).endswith("fox"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    assert has(load(folder).notes, "warning: folders that may not be read", "fox")


def test_control_characters_do_not_break_a_line():
    assert image_folders.printable("new\nline\x1b[31m") == "new\\x0aline\\x1b[31m"


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_names_that_are_not_utf_8_or_not_latin(folder):
    os.rename(
        os.fsencode(folder / "cat" / "000.png"), os.fsencode(folder / "cat") + b"/caf\xe9.png"
    )
    (folder / "dog").rename(folder / "狗")
    os.rename(os.fsencode(folder / "fox"), os.fsencode(folder) + b"/f\xf6x")
    image_set = load(folder)
    assert set(image_set.classes) == {"cat", "狗", "f\\xf6x"}
    assert sum(image_set.counts.values()) == 72
    "\n".join(image_set.notes + list(image_set.classes)).encode()  # all of it can be printed
    load(folder)  # from the cache


# CASE 5: images that are alike.


def test_near_duplicates_stay_together_and_are_counted(folder):
    for i in range(6):
        original = np.asarray(Image.open(folder / "fox" / f"{i:03}.png")).astype(int)
        brighter = Image.fromarray(np.clip(original + 3, 0, 255).astype("u1"))
        brighter.resize((40, 32)).save(folder / "fox" / f"copy{i}.jpg", quality=80)
    image_set = load(folder, size=16)
    assert has(image_set.notes, "near-duplicates: 6 groups of 12 images")
    for i in range(6):
        pair = {f"fox/{i:03}.png", f"fox/copy{i}.jpg"}
        assert sum(bool(pair & files) for files in files_of(image_set).values()) == 1


def castings(count, seed=0, size=8):
    """uint8 (count, 3, size, size): photographs of the same part, with a grain of noise."""
    draw = np.random.default_rng(seed)
    part = np.asarray(image(1, (size, size)), np.int64).transpose(2, 0, 1)
    return np.clip(part + draw.integers(-2, 3, (count, 3, size, size)), 0, 255).astype(np.uint8)


def test_alike_images_of_two_classes_are_split_by_exact_copies(tmp_path):
    for name, seed in (("ok", 0), ("defect", 1)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i, pixels in enumerate(castings(20, seed, 16)):
            Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "set" / name / f"{i:02}.png")
            if i % 2:
                twin = tmp_path / "set" / name / f"{i:02}b.png"
                Image.fromarray(pixels.transpose(1, 2, 0)).save(twin)
    image_set = load(tmp_path / "set", size=16)
    assert image_set.classes == ("defect", "ok")
    assert has(image_set.notes, "warning", "ok", "alike", "exact copies")
    assert sum(image_set.counts.values()) == 60
    for name in ("ok", "defect"):
        for i in range(1, 20, 2):
            pair = {f"{name}/{i:02}.png", f"{name}/{i:02}b.png"}
            assert sum(bool(pair & files) for files in files_of(image_set).values()) == 1


def test_near_duplicates_never_join_classes_and_take_linear_time():
    pixels = torch.from_numpy(castings(4000))
    labels = np.arange(4000) % 2
    seconds = []
    for count in (1000, 4000):
        began = time.process_time()
        groups = near_duplicates(pixels[:count], labels[:count])
        seconds.append(time.process_time() - began)
        assert len(set(groups[::2])) == len(set(groups[1::2])) == 1
        assert groups[0] != groups[1]
    assert seconds[1] < 8 * seconds[0] + 1  # pairs are sixteen times as many


def test_near_duplicates_are_those_that_all_pairs_give():
    """Every image of 300 once more with noise: the pairs, and nothing else."""
    draw = np.random.default_rng(0)
    first = np.stack([np.asarray(image(i, (32, 32))).transpose(2, 0, 1) for i in range(300)])
    noisy = np.clip(first + draw.normal(0, 4, first.shape), 0, 255).astype(np.uint8)
    order = draw.permutation(600)
    pixels = torch.from_numpy(np.concatenate([first, noisy])[order])
    groups = near_duplicates(pixels, np.zeros(600, np.int64))
    place = np.argsort(order)
    assert (groups[place[:300]] == groups[place[300:]]).all()
    assert len(set(groups)) == 300


# CASES 6 and 7: many classes, small classes.


def test_two_hundred_classes_are_counted_in_one_line(tmp_path):
    for number in range(200):
        fill(tmp_path / "set" / f"class {number}", 10, number)
    image_set = load(tmp_path / "set", size=4)
    assert image_set.classes[:3] == ("class 0", "class 1", "class 2")
    assert image_set.classes[10] == "class 10"
    assert has(image_set.notes, "train: 7 to 7 of each of 200 classes")
    assert max(map(len, image_set.notes)) < 200


def test_small_classes_are_named_together_and_can_be_left_out(folder):
    fill(folder / "owl", 3, 5)
    fill(folder / "emu", 9, 6)
    with pytest.raises(UserError, match=r"10 different .* emu \(9\), owl \(3\); .* --skip-small"):
        load(folder)
    image_set = load(folder, skip_small=True)
    assert image_set.classes == ("cat", "dog", "fox")
    assert sum(image_set.counts.values()) == 72
    assert has(image_set.notes, "left out", "emu (9), owl (3)")
    assert {file.split("/")[0] for file in image_set.splits["train"].files} == {"cat", "dog", "fox"}
    with pytest.raises(UserError, match="raise --per-class 5"):
        load(folder, per_class=5)


def test_copies_of_one_image_are_not_a_class(folder):
    for path in (folder / "dog").iterdir():
        image(999).save(path)
    with pytest.raises(UserError, match=r"have fewer: dog \(1\)"):
        load(folder)


def test_per_class_limits_every_class(folder):
    image_set = load(folder, per_class=12)
    parts = image_set.splits.values()
    assert sum(part.labels.bincount(minlength=3) for part in parts).tolist() == [12] * 3


def test_unusable_folders_are_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        load(tmp_path / "absent")
    (folder / "cat" / "a.heic").touch()
    with pytest.raises(UserError, match=r"holds images of no class.*ignored: 1 \.heic"):
        load(folder / "cat")
    fill(tmp_path / "two" / "train" / "a", 12)
    fill(tmp_path / "two" / "Training" / "a", 12)
    with pytest.raises(UserError, match="Training and train are both the train split"):
        load(tmp_path / "two")
    for name in "ab":
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "x.png").write_text("not an image")
    with pytest.raises(UserError, match=r"no image in .* can be used: .*a/x.png cannot be read"):
        load(tmp_path / "bad")


# CASE 8, and what else decoding meets.


def test_twelve_bits_in_sixteen_are_scaled_by_the_depth_of_the_set(folder, tmp_path):
    bright, dark = np.full((20, 20), 4095, np.uint16), np.full((20, 20), 1024, np.uint16)
    for path in (folder / "dog").iterdir():
        levels = np.random.default_rng(int(path.stem)).integers(0, 4096, (5, 5), np.uint16)
        Image.fromarray(levels.repeat(4, 0).repeat(4, 1)).save(path)
    Image.fromarray(bright).save(folder / "dog" / "bright.png")
    Image.fromarray(dark).save(folder / "dog" / "dark.png")
    image_set = load(folder)
    assert image_set.bits == 12
    assert has(image_set.notes, "scaled by the 12 bits that they use")
    pixels = {
        f: p for s in image_set.splits.values() for f, p in zip(s.files, s.pixels, strict=True)
    }
    assert pixels["dog/bright.png"].unique().tolist() == [255]
    assert pixels["dog/dark.png"].unique().tolist() == [63]  # not by its own depth, of 11 bits
    assert decode(folder / "dog" / "dark.png", 8, bits=12).max() == 63
    Image.fromarray(np.full((9, 9), 65535, np.uint16)).save(tmp_path / "deep.png")
    assert decode(tmp_path / "deep.png", 8).min() == 255


def grey_png(width, height, rows):
    """A grey PNG of one level, small as a file, that holds so many of its rows."""
    packer = zlib.compressobj(1)
    row = b"\0" + b"\x80" * width
    packed = b"".join([*(packer.compress(row) for _ in range(rows)), packer.flush()])
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + name + body
        content += struct.pack(">I", zlib.crc32(name + body))
    return content


def test_a_large_scan_is_read_and_a_bomb_refused_by_a_limit(folder):
    scan, bomb = folder / "cat" / "scan.png", folder / "cat" / "bomb.png"
    scan.write_bytes(grey_png(15_000, 13_000, 13_000))  # beyond Pillow's own limit
    bomb.write_bytes(grey_png(60_000, 60_000, 10))
    image_set = load(folder)
    assert sum(image_set.counts.values()) == 72 + 1
    assert has(image_set.notes, "bomb.png", "3,600 megapixels: more than --max-megapixels 500")
    assert set(decode(scan, 8).flat) <= {127, 128}
    with pytest.raises(UserError, match="195 megapixels: more than --max-megapixels 100"):
        decode(scan, 8, max_megapixels=100)


@pytest.mark.parametrize("mode", ["1", "P", "transparent P"])
def test_large_scans_of_few_colours_are_reduced_as_they_would_be_in_rgb(
    tmp_path, monkeypatch, mode
):
    """A quarter turn too; a band at a time, the last one narrower."""
    exif, options = Image.Exif(), {"transparency": 0} if "transparent" in mode else {}
    exif[0x0112] = 6
    few = image(3, (1300, 1111)).convert(mode[-1])
    few.save(tmp_path / "few.png", exif=exif, **options)
    with Image.open(tmp_path / "few.png") as saved:
        saved.convert("RGBA").save(tmp_path / "all.png", exif=exif)
    monkeypatch.setattr(image_folders, "LARGE_PIXELS", 1)
    one, other = (decode(tmp_path / f"{name}.png", 8) for name in ("few", "all"))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_a_class_without_a_readable_image_is_named(folder):
    for path in (folder / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"have fewer: dog \(0\); .* --skip-small \(skipped: .*dog"):
        load(folder)
    assert load(folder, skip_small=True).classes == ("cat", "fox")


def test_small_classes_are_explained_by_how_they_came_about(tmp_path):
    """Classes taken from file names, labels in a CSV that is not read; none would be left."""
    fill(tmp_path / "set", 3)
    for name in ("IMG", "scan"):
        for i in range(3):
            image(i).save(tmp_path / "set" / f"{name}_{i}.png")
    (tmp_path / "set" / "labels.csv").touch()
    with pytest.raises(UserError, match=r"IMG \(3\), scan \(3\); add some \(") as caught:
        load(tmp_path / "set")
    for words in ("labels in a .csv are not read", "taken from the names of its files: make a"):
        assert words in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf, 1e30, -5])
def test_levels_that_are_no_numbers(tmp_path, level):
    Image.fromarray(np.full((9, 9), level, np.float32)).save(tmp_path / "odd.tiff")
    assert decode(tmp_path / "odd.tiff", 8).shape == (3, 8, 8)


def test_floating_point_levels_keep_their_order(folder):
    """Below 0 too; what is not finite has no say in the scale. It is noted, from the cache too."""
    levels = np.full((8, 8), -1, np.float32)
    levels[:, 4:], levels[0, 0], levels[0, 7], levels[7, 0] = 3, -np.inf, np.inf, np.nan
    Image.fromarray(levels).save(folder / "cat" / "odd.tiff")
    expected = np.zeros((8, 8))
    expected[:, 4:] = 255
    assert np.array_equal(decode(folder / "cat" / "odd.tiff", 8)[0], expected)
    for _ in range(2):
        image_set = load(folder)
        assert (image_set.bits, has(image_set.notes, "floating-point images: each")) == (0, True)


def test_damaged_images_are_named_and_skipped(folder):
    whole = (folder / "cat" / "000.png").read_bytes()
    (folder / "cat" / "000.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "001.png").write_bytes(b"")
    for i in range(2, 8):
        (folder / "fox" / f"{i:03}.png").write_text("no image")
    image(900).save(folder / "dog" / "002.png", format="JPEG")  # a false ending is no damage
    image_set = load(folder)
    assert has(image_set.notes, "cat/000.png cannot be read as an image")
    assert has(image_set.notes, "skipped: 3 more that cannot be read")
    assert sum(image_set.counts.values()) == 72 - 8


def test_formats_modes_and_sizes(folder):
    """Whatever Pillow reads becomes an upright RGB square."""
    odd = folder / "cat"
    for mode in ("L", "1", "P", "RGBA", "CMYK", "LA", "I", "F"):
        ending = "tif" if mode in ("CMYK", "I", "F") else "png"
        Image.new("RGB", (30, 17), (200, 10, 10)).convert(mode).save(odd / f"odd-{mode}.{ending}")
    (odd / "deeper").mkdir()
    Image.new("RGB", (900, 700), "navy").save(odd / "deeper" / "large.JPEG")
    Image.new("RGB", (1, 1), "navy").save(odd / "tiny.gif")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    half = Image.new("RGB", (16, 16))
    half.paste("white", (0, 0, 16, 8))  # white above, so white right when upright
    half.save(odd / "turned.jpg", exif=exif, quality=95)
    turned = decode(odd / "turned.jpg", 8)
    assert turned[:, :, 5:].min() > 200
    assert turned[:, :, :3].max() < 50
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    clear.save(odd / "clear.png")
    assert decode(odd / "clear.png", 8).min() == 255
    image_set = load(folder)
    assert sum(image_set.counts.values()) == 72 + 12
    assert not has(image_set.notes, "skipped")


# CASE 11 and the cache: one file under the name of its content.


def test_pixels_are_read_from_the_cache_and_never_replaced(folder, monkeypatch):
    first = load(folder)
    (path,) = (folder.parent / "cache").glob("images-*.raw")
    before = path.stat()
    monkeypatch.setattr(image_folders, "decode_deep", None)  # now nothing is decoded again
    again = load(folder)
    assert torch.equal(again.splits["train"].pixels, first.splits["train"].pixels)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert again.key == first.key


@pytest.mark.parametrize("harm", ["truncate", "empty", "lose"])
def test_a_damaged_cache_is_built_again(folder, harm):
    first = load(folder)
    (path,) = (folder.parent / "cache").glob("images-*.raw")
    content = path.read_bytes()
    path.unlink()
    if harm != "lose":
        path.write_bytes(content[:-100] if harm == "truncate" else b"")
    assert torch.equal(load(folder).splits["train"].pixels, first.splits["train"].pixels)


def test_changed_image_changed_size_and_new_image_are_seen(folder):
    before = load(folder)
    Image.new("RGB", (8, 8), "white").save(folder / "cat" / "000.png")
    after = load(folder)
    part = next(p for p in after.splits.values() if "cat/000.png" in p.files)
    assert part.pixels[part.files.index("cat/000.png")].min() == 255
    assert after.key != before.key
    assert load(folder, size=4).splits["train"].pixels.shape[2:] == (4, 4)
    image(900).save(folder / "dog" / "new.png")
    assert any("dog/new.png" in files for files in files_of(load(folder)).values())


# Splits in general.


@given(st.lists(st.integers(12, 60), min_size=1, max_size=5), st.integers(0, 10**6))
def test_splits_are_disjoint_complete_and_keep_groups(sizes, seed):
    """Groups of one to three images; each class has enough of them."""
    draw = np.random.default_rng(seed)
    labels, groups = [], []
    for label, size in enumerate(sizes):
        for group in range(size):
            members = int(draw.choice([1, 1, 1, 2, 3]))
            labels += [label] * members
            groups += [100 * label + group] * members
    order = draw.permutation(len(labels))
    labels, groups = np.array(labels)[order], np.array(groups)[order]
    parts, alike, small = stratified(labels, groups, np.arange(len(labels)), FRACTIONS)
    assert (alike, small) == ([], {})
    for part in range(3):
        assert set(labels[parts == part].tolist()) == set(range(len(sizes)))
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups.tolist()))
    again = stratified(labels, groups, np.arange(len(labels)), FRACTIONS)
    assert np.array_equal(again[0], parts)


@pytest.mark.parametrize("largest", [20, 60, 80, 95])
def test_no_part_is_empty_however_large_a_group_is(largest):
    """Of 100 images `largest` are one group: where it would empty a part, copies decide."""
    groups = np.array([0] * largest + list(range(1, 101 - largest)))
    parts, alike, small = stratified(np.zeros(100, int), groups, np.arange(100), FRACTIONS)
    counts = np.bincount(parts, minlength=3).tolist()
    assert min(counts) >= 10
    assert counts[2] >= 50
    assert alike == ([] if largest <= 70 else [0])
    assert small == {}


def test_walk_lists_what_pillow_reads(folder):
    (folder / "notes.txt").write_text("no image")
    buffer = io.BytesIO()
    image(1).save(buffer, "webp")
    (folder / "x.WEBP").write_bytes(buffer.getvalue())
    found = image_folders.walk(folder)[0]
    assert len(found) == 73
    assert found == sorted(found)
    assert "x.WEBP" in found


@pytest.mark.real
def test_real_set(real_data, tmp_path):
    cache = real_data / "cache" if os.access(real_data, os.W_OK) else tmp_path
    image_set = load_folder(real_data / "dogs_food_vehicles", 64, cache)
    assert image_set.classes == ("dogs", "food", "vehicles")
    assert image_set.counts == {"train": 21_000, "val": 4_500, "test": 4_500}
    # As comparing all pairs gives.
    assert has(image_set.notes, "near-duplicates: 83 groups of 168 images")
    assert not has(image_set.notes, "skipped")
