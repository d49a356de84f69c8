"""The three-class set: its sample, how it is built from Tiny ImageNet, folders of one's own."""

import io
import zipfile
from dataclasses import replace

from common.errors import UserError
from common.images import load_folder

import pytest
import torch
from PIL import Image

from vgg_vs_resnet import baselines, data

TOP = "tiny-imagenet-200"
OTHER = "n01443537"  # a goldfish, of no class here


def jpeg(seed):
    pixels = torch.randint(0, 256, (4, 4, 3), generator=torch.Generator().manual_seed(seed))
    made = io.BytesIO()
    Image.fromarray(pixels.byte().numpy()).resize((64, 64)).save(made, "jpeg")
    return made.getvalue()


@pytest.fixture
def archive(tmp_path):
    """A zip in Tiny ImageNet's layout: two training pictures of each class, one for validation."""
    wnids = [wnid for name in data.CLASSES for wnid in data.WNIDS[name].split()]
    path = tmp_path / "data" / TOP / data.ARCHIVE
    path.parent.mkdir(parents=True)
    rows = []
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(f"{TOP}/wnids.txt", "\n".join([*wnids, OTHER]))
        for number, wnid in enumerate([*wnids, OTHER]):
            for i in range(2):
                name = f"{TOP}/train/{wnid}/images/{wnid}_{i}.JPEG"
                package.writestr(name, jpeg(10 * number + i))
            package.writestr(f"{TOP}/train/{wnid}/{wnid}_boxes.txt", "")
            package.writestr(f"{TOP}/val/images/val_{number}.JPEG", jpeg(10 * number + 5))
            rows.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
        package.writestr(f"{TOP}/val/val_annotations.txt", "".join(rows))
        package.writestr(f"{TOP}/test/images/test_0.JPEG", jpeg(1))
    return path


def test_wnids_are_those_of_38_classes():
    counts = {name: len(set(data.WNIDS[name].split())) for name in data.CLASSES}
    assert counts == {"dogs": 6, "food": 17, "vehicles": 15}
    assert len(set(" ".join(data.WNIDS.values()).split())) == 38


def test_built_from_tiny_imagenet(archive, tmp_path):
    source, found = data.load(32, data="real", data_dir=str(tmp_path / "data"))
    assert source.kind == "real"
    assert source.folder == tmp_path / "data" / "dogs_food_vehicles"
    counts = {name: len(list((source.folder / name).iterdir())) for name in data.CLASSES}
    assert counts == {"dogs": 18, "food": 51, "vehicles": 45}
    assert sum(map(len, found.splits.values())) == 114
    first = data.WNIDS["dogs"].split()[0]
    assert (source.folder / "dogs" / f"{first}_1.jpg").read_bytes() == jpeg(1)
    assert (source.folder / "dogs" / f"{first}_val_0.jpg").read_bytes() == jpeg(5)


def test_unusable_archive_leaves_nothing_behind(archive, tmp_path):
    folder = tmp_path / "data" / "dogs_food_vehicles"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        data.build(archive, folder)
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 255  # the zip's own checksum tells
    archive.write_bytes(damaged)
    with pytest.raises(UserError, match="is damaged"):
        data.build(archive, folder)
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr(f"{TOP}/val/val_annotations.txt", "")
    with pytest.raises(UserError, match="lacks the class n02085620"):
        data.build(archive, folder)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [TOP]


def test_real_that_cannot_be_had_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "TINY_IMAGENET", replace(data.TINY_IMAGENET, remote=()))
    with pytest.raises(UserError, match=r"tiny-imagenet-200.zip missing in .* --images"):
        data.load(32, data="real", data_dir=str(tmp_path))
    source = data.find("auto", str(tmp_path))
    assert source.kind == "sample"
    assert "tiny-imagenet-200.zip" in source.note


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return data.load(32, data="sample", data_dir=str(tmp_path_factory.mktemp("data")))


def test_sample_is_learnable_and_not_trivial(sample):
    source, found = sample
    assert (source.kind, found.classes) == ("sample", data.CLASSES)
    assert {part.labels.bincount().tolist()[0] for part in found.splits.values()} == {210, 45}
    measured = baselines.evaluate(found)
    assert measured["largest class"]["test_accuracy"] == pytest.approx(1 / 3, abs=0.01)
    linear = measured["linear on gradients and colours"]
    assert 0.6 < linear["test_accuracy"] < 0.99
    # Colour alone gives nothing away.
    train, test = found.splits["train"], found.splits["test"]
    centres = torch.stack(
        [train.pixels[train.labels == c].float().mean((0, 2, 3)) for c in range(3)]
    )
    nearest = torch.cdist(test.pixels.float().mean((2, 3)), centres).argmin(1)
    assert (nearest == test.labels).float().mean() < 0.5


def test_sample_is_the_same_each_time(sample, tmp_path):
    data.make_sample(tmp_path)
    for name in ("dogs/dogs_0000.jpg", "vehicles/vehicles_0299.jpg"):
        assert (tmp_path / name).read_bytes() == (sample[0].folder / name).read_bytes()


def test_own_folder(sample, tmp_path):
    source, found = data.load(
        32, images=str(sample[0].folder), data_dir=str(tmp_path), per_class=20
    )
    assert (source.kind, source.note) == ("real", "at most 20 a class")
    assert len(source.checksum) == 16
    assert sum(map(len, found.splits.values())) == 60


def test_origins_come_from_the_manifest(tmp_path):
    assert data.origins(tmp_path) == {}
    (tmp_path / "manifest.csv").write_text("class,file,source\ndogs,a.jpg,here\n")
    assert data.origins(tmp_path) == {"dogs/a.jpg": "here"}


@pytest.mark.real
def test_manifest_covers_the_real_set(real_data):
    folder = real_data / "dogs_food_vehicles"
    origins = data.origins(folder)
    if not origins:
        pytest.skip(f"{folder} has no manifest")
    found = load_folder(folder, 32, real_data / "cache", per_class=50)
    assert all(file in origins for part in found.splits.values() for file in part.files)
