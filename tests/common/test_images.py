"""Image folders: decoding, the cache, damaged files, near-duplicates, splits, augmentation."""

import os
import struct
import zlib

from common import images as image_folders
from common import splitting
from common.errors import UserError
from common.images import decode, load_folder

import numpy as np
import pytest
import torch
from PIL import Image

PLACE = torch.device("cpu")


def picture(seed, size=(20, 16)):
    """Smooth random colours, unlike those of any other seed."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("cat", "dog", "fox")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20 + 4 * number):
            picture(100 * number + i).save(tmp_path / "set" / name / f"{i:03}.png")
    return tmp_path / "set"


def load(folder, size=8, **how):
    return load_folder(folder, size, folder.parent / "cache", **how)


def files_of(found):
    return {name: set(part.files) for name, part in found.splits.items()}


def test_splits_are_stratified_disjoint_and_complete(folder):
    found = load(folder)
    parts = files_of(found)
    assert not parts["train"] & (parts["val"] | parts["test"])
    assert not parts["val"] & parts["test"]
    assert len(set.union(*parts.values())) == 20 + 24 + 28
    for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        counts = found.splits[name].labels.bincount().tolist()
        assert counts == pytest.approx([share * n for n in (20, 24, 28)], abs=1.01), name
    for part in found.splits.values():
        for pixels, label, file in zip(part.pixels, part.labels, part.files, strict=True):
            assert found.classes[label] == file.split("/")[0]
            assert np.array_equal(pixels.numpy(), decode(folder / file, 8))
    assert files_of(load(folder)) == parts


def test_statistics_are_those_of_the_training_split_alone(folder):
    before = load(folder)
    pixels = before.splits["train"].pixels.double() / 255
    assert torch.allclose(before.mean, pixels.mean((0, 2, 3)).float(), atol=1e-6)
    assert torch.allclose(
        before.std, pixels.transpose(0, 1).flatten(1).std(1, correction=0).float(), atol=1e-5
    )
    for i, file in enumerate(before.splits["test"].files + before.splits["val"].files):
        picture(1000 + i).point(lambda level: level // 2).save(folder / file)
    after = load(folder)
    assert files_of(after) == files_of(before)
    assert not torch.equal(after.splits["test"].pixels, before.splits["test"].pixels)
    assert torch.equal(after.mean, before.mean)
    assert torch.equal(after.std, before.std)


def test_kept_statistics_are_those_of_the_same_training_split(folder, monkeypatch):
    first = load(folder)
    with monkeypatch.context() as patch:
        patch.setattr(image_folders, "channel_statistics", None)  # now they are read
        again = load(folder)
    assert torch.equal(again.mean, first.mean)
    assert torch.equal(again.std, first.std)
    monkeypatch.setattr(splitting, "SPLIT_SEED", 1)  # the same pictures, split otherwise
    other = load(folder)
    pixels = other.splits["train"].pixels.double() / 255
    assert files_of(other) != files_of(first)
    assert torch.allclose(other.mean, pixels.mean((0, 2, 3)).float(), atol=1e-6)
    assert not torch.allclose(first.mean, pixels.mean((0, 2, 3)).float(), atol=1e-6)


def test_near_duplicates_stay_together_and_are_counted(folder):
    for i in range(6):
        original = picture(200 + i)
        brighter = Image.fromarray(
            np.clip(np.asarray(original).astype(int) + 3, 0, 255).astype("u1")
        )
        brighter.resize((40, 32)).save(folder / "fox" / f"copy{i}.jpg", quality=80)
    found = load(folder, size=16)
    assert found.notes[0].startswith("near-duplicates: 6 groups of 12 images")
    for i in range(6):
        pair = {f"fox/{i:03}.png", f"fox/copy{i}.jpg"}
        assert sum(bool(pair & files) for files in files_of(found).values()) == 1
    everything = torch.cat([part.pixels for part in found.splits.values()])
    groups = splitting.near_duplicates(everything, block=7)  # across the borders of blocks
    assert int((groups.bincount() > 1).sum()) == 6


def test_copies_of_one_picture_are_not_a_class(folder):
    for path in (folder / "dog").iterdir():
        picture(999).save(path)
    with pytest.raises(UserError, match="class dog has 1 different images"):
        load(folder)


def test_every_split_has_every_class_even_if_most_images_repeat(folder):
    for i, path in enumerate(sorted((folder / "dog").iterdir())):
        picture(500 + i // 2).save(path)
    found = load(folder)
    assert all((part.labels.bincount(minlength=3) > 0).all() for part in found.splits.values())


def test_damaged_images_are_named_counted_and_skipped(folder):
    whole = (folder / "cat" / "000.png").read_bytes()
    (folder / "cat" / "000.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "001.png").write_bytes(b"")
    (folder / "fox" / "002.png").write_text("no picture")
    (folder / "fox" / "notes.txt").write_text("no picture either, and not named like one")
    (folder / "fox" / ".003.png").write_text("hidden")
    found = load(folder)
    assert found.notes[0] == "damaged, skipped: 3 (cat/000.png, dog/001.png, fox/002.png)"
    assert sum(map(len, found.splits.values())) == 72 - 3


def test_a_bomb_is_damaged_and_a_false_ending_is_not(folder):
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)  # 10 GB when decoded
    chunks = [(b"IHDR", size), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        bomb += struct.pack(">I", len(body)) + name + body
        bomb += struct.pack(">I", zlib.crc32(name + body))
    (folder / "cat" / "000.png").write_bytes(bomb)
    picture(900).save(folder / "dog" / "001.png", format="JPEG")
    assert load(folder).notes[0] == "damaged, skipped: 1 (cat/000.png)"
    with pytest.raises(Image.DecompressionBombError):
        Image.open(folder / "cat" / "000.png")


def test_formats_modes_and_sizes(folder):
    """Whatever Pillow reads becomes an upright RGB square."""
    odd = folder / "cat"
    for mode in ("L", "1", "P", "RGBA", "CMYK", "I;16"):
        ending = "tif" if mode == "CMYK" else "png"
        Image.new("RGB", (30, 17), (200, 10, 10)).convert("L" if mode == "I;16" else mode).save(
            odd / f"odd-{mode.replace(';', '')}.{ending}"
        )
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
    found = load(folder)
    assert sum(map(len, found.splits.values())) == 72 + 9
    assert not any("damaged" in note for note in found.notes)


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty"])
def test_damaged_cache_is_built_again(folder, harm, monkeypatch):
    first = load(folder)
    (path,) = (folder.parent / "cache").glob("images-*.npz")
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 255
    path.write_bytes({"truncate": content[:-100], "flip": content, "empty": b""}[harm])
    assert torch.equal(load(folder).splits["train"].pixels, first.splits["train"].pixels)
    monkeypatch.setattr(image_folders, "decode", None)  # now nothing is decoded again
    assert torch.equal(load(folder).splits["train"].pixels, first.splits["train"].pixels)


def test_changed_image_changed_size_and_new_image_are_seen(folder):
    load(folder)
    Image.new("RGB", (8, 8), "white").save(folder / "cat" / "000.png")
    part = next(p for p in load(folder).splits.values() if "cat/000.png" in p.files)
    assert part.pixels[part.files.index("cat/000.png")].min() == 255
    assert load(folder, size=4).splits["train"].pixels.shape[2:] == (4, 4)
    picture(900).save(folder / "dog" / "new.png")
    assert any("dog/new.png" in files for files in files_of(load(folder)).values())


def test_per_class_limits_every_class(folder):
    found = load(folder, per_class=12)
    assert sum(p.labels.bincount(minlength=3) for p in found.splits.values()).tolist() == [12] * 3


def test_unusable_folders_are_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        load(tmp_path / "absent")
    with pytest.raises(UserError, match="holds images of 0 classes"):
        load(tmp_path / "set" / "cat")
    for path in sorted((folder / "dog").iterdir())[9:]:
        path.unlink()
    with pytest.raises(UserError, match=r"class dog in .* has 9 usable images"):
        load(folder)


@pytest.mark.real
def test_real_set(real_data, tmp_path):
    folder = real_data / "dogs_food_vehicles"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    cache = real_data / "cache" if os.access(real_data, os.W_OK) else tmp_path
    found = load_folder(folder, 64, cache)
    assert found.classes == ("dogs", "food", "vehicles")
    assert sum(map(len, found.splits.values())) > 15_000
    assert not any("damaged" in note for note in found.notes)
