"""Records: of real, whole runs of committed code, that differ in their seed alone."""

import json

import numpy as np
import pytest
from PIL import Image

from common import checkpoints
from common.settings import UserError
from results import records

pytestmark = pytest.mark.usefixtures("results")
COMMAND = "python toy/train.py --lr 0.1"


def test_a_record_is_mean_and_spread_over_seeds(make_run):
    other = make_run(1, metrics={"test_accuracy": 0.92, "parameters": 133_638_952})
    records.add("toy", "default", COMMAND, [make_run(), other])
    (record,) = records.read("toy")
    assert record["seeds"] == [0, 1]
    accuracy = record["metrics"]["test_accuracy"]
    assert accuracy["mean"] == pytest.approx(0.91)
    assert accuracy["std"] == pytest.approx(0.01 * 2**0.5, rel=1e-5)
    assert accuracy["values"] == [0.9, 0.92]
    assert record["metrics"]["parameters"]["mean"] == 133_638_952  # a count stays exact
    assert record["metrics"]["train_seconds"]["values"] == [10.0, None]
    assert record["settings"] == {"lr": 0.1, "limit_batches": 0}  # no seed, no place
    assert record["command"] == COMMAND
    assert (record["commit"], record["code"]) == ("0a1b", "c0de")
    assert record["dataset"]["checksum"] == "1f"


def test_a_record_of_the_same_name_is_replaced(make_run):
    records.add("toy", "default", COMMAND, [make_run()])
    records.add("toy", "other", COMMAND, [make_run()])
    records.add("toy", "default", COMMAND, [make_run(7)])
    assert [(r["name"], r["seeds"]) for r in records.read("toy")] == [
        ("other", [0]),
        ("default", [7]),
    ]
    assert records.find("toy", "ghost") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": "sample"}, "sample data"),
        ({"finished": False}, "stopped before its end"),
        ({"settings": {"limit_batches": 3}}, "dry run"),
        ({"commit": ""}, "does not know its commit"),
        ({"commit": "0a1b-dirty"}, "not committed"),
        ({"project": "other"}, "is a run of other"),
    ],
)
def test_a_run_that_is_no_result_is_refused(make_run, change, reason):
    with pytest.raises(UserError, match=reason):
        records.add("toy", "default", COMMAND, [make_run(), make_run(1, **change)])
    assert records.read("toy") == []


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "ffff"},
        {"code": "ffff"},
        {"settings": {"lr": 0.2, "limit_batches": 0}},
        {"settings": {"lr": 0.1, "threads": 2, "limit_batches": 0}},
        {"dataset": {"checksum": "2e"}},
        {"versions": {"torch": "2.15"}},
        {"processes": 2},
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_refused(make_run, change):
    with pytest.raises(UserError, match=f"more than the seed: {next(iter(change))}"):
        records.add("toy", "default", COMMAND, [make_run(), make_run(1, **change)])


def test_hardware_is_recorded_and_not_compared(make_run):
    records.add("toy", "default", COMMAND, [make_run(), make_run(1, hardware="64 cores")])
    assert records.find("toy", "default")["hardware"] == ["2 cores", "64 cores"]


def test_a_seed_twice_and_an_unknown_variant(make_run, tmp_path):
    with pytest.raises(UserError, match="a seed occurs twice"):
        records.add("toy", "default", COMMAND, [make_run(), make_run()])
    nested = {"causal": {"nab_score": 93.0}, "centred": {"nab_score": 97.0}, "train_seconds": 5.0}
    with pytest.raises(UserError, match="report causal, centred"):
        records.add("toy", "default", COMMAND, [make_run(metrics=nested)])
    records.add("toy", "centred", COMMAND, [make_run(metrics=nested)])
    records.add("toy", "other name", COMMAND, [make_run(metrics=nested)], "centred")
    for name in ("centred", "other name"):
        metrics = records.find("toy", name)["metrics"]
        assert (metrics["nab_score"]["mean"], metrics["train_seconds"]["mean"]) == (97.0, 5.0)
    with pytest.raises(UserError, match=r"no results\.json"):
        records.add("toy", "default", COMMAND, [tmp_path])


@pytest.mark.parametrize("has_labels", [True, False])
def test_the_difference_to_the_best_baseline_is_paired(make_run, results, has_labels):
    """Right on 90 of 100 rows in both seeds, the SVM on the first 80 of them, the other on 50."""
    labels = np.arange(100) % 3
    right = {"this run": 90, "SVM": 80, "largest class": 50}

    def predictions(shift):
        rows = {k: np.where(np.arange(100) < n, labels, labels + 1) for k, n in right.items()}
        if not has_labels:  # scores of each row in place of class numbers
            return {name: (row == labels) * 1.0 for name, row in rows.items()}
        return {**rows, "labels": labels + shift}

    records.add("toy", "default", COMMAND, [make_run(seed, predictions(0)) for seed in (0, 1)])
    gain = records.find("toy", "default")["difference"]
    assert gain["to"] == "SVM"
    assert gain["of"] == ("accuracy" if has_labels else "score")
    assert gain["mean"] == pytest.approx(0.1)
    assert 0.03 < gain["low"] < 0.08 < 0.12 < gain["high"] < 0.18
    kept = np.load(results / "predictions" / "toy-default.npz")
    assert kept["SVM"].shape == (1, 100)  # the same in both runs
    assert kept["this run"].dtype == (np.uint8 if has_labels else np.float16)
    if has_labels:
        with pytest.raises(UserError, match="other test rows"):
            records.add(
                "toy", "x", COMMAND, [make_run(0, predictions(0)), make_run(1, predictions(1))]
            )


def test_without_predictions_there_is_no_difference(make_run):
    records.add("toy", "default", COMMAND, [make_run()])
    assert records.find("toy", "default")["difference"] is None


@pytest.fixture
def plots(make_run):
    """A run with a plot in many colours, one that is small already, and a transparent one."""
    folder = make_run()
    colours = np.random.default_rng(1).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC)
    image.paste("white", (0, 0, 160, 40))  # the background of a plot
    image.convert("RGBA").save(folder / "photos.png")
    image.quantize(4).save(folder / "small.png", optimize=True)
    image.putalpha(100)
    image.save(folder / "transparent.png")
    return folder


def test_plots_are_copied_with_fewer_colours_where_that_is_smaller(plots, results):
    records.copy_plots(plots)
    sizes = {}
    for path in plots.glob("*.png"):
        copy = results / "plots" / f"toy-{path.name}"
        sizes[path.stem] = copy.stat().st_size / path.stat().st_size
        with Image.open(path) as before, Image.open(copy) as after:
            assert before.size == after.size
            values = [np.asarray(each.convert("RGBA"), int) for each in (before, after)]
        assert np.abs(values[0] - values[1]).mean() < 4, path.name
        assert np.array_equal(values[0][:40], values[1][:40]), path.name
    assert sizes["photos"] < 0.7
    assert sizes["small"] == sizes["transparent"] == 1


def test_plots_and_models_of_a_sample_and_large_models_are_refused(make_run, results):
    sample = make_run(data="sample")
    with pytest.raises(UserError, match="are no result"):
        records.copy_plots(sample)
    with pytest.raises(UserError, match="sample data"):
        records.copy_model(sample)
    real = make_run()
    (real / "model.pt").write_bytes(bytes(1_100_000))
    with pytest.raises(UserError, match="1,100,000 bytes"):
        records.copy_model(real)
    settings = {"lr": 0.1, "out": "/home/me/runs", "data_dir": "/home/me/data"}
    checkpoints.save(real / "model.pt", {"settings": settings, "weights": {}})
    records.copy_model(real)
    kept = checkpoints.load(results / "models" / "toy.pt")
    assert kept["settings"] == {"lr": 0.1, "out": None, "data_dir": None}


def test_results_stay_readable_as_text(make_run, results):
    records.add("toy", "default", COMMAND, [make_run(), make_run(1)])
    text = (results / "toy.json").read_text()
    assert '"values": [ 0.9, 0.9 ]' in text
    assert json.loads(text)["project"] == "toy"
