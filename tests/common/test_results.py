"""Records of real runs only, and README tables that follow from them."""

import copy
import json

from common import results
from common.errors import UserError

import numpy as np
import pytest
from PIL import Image

RUN = {
    "project": "toy",
    "finished": True,
    "data": "real",
    "dataset": {"name": "set"},
    "settings": {"lr": 0.1, "seed": 0, "out": "somewhere", "data": "auto"},
    "seed": 0,
    "metrics": {"test_accuracy": 0.9, "train_seconds": 10.0},
    "baselines": {"SVM": {"test_accuracy": 0.8}},
    "published": {"test_accuracy": 0.85},
    "models": {},
    "hardware": "2 cores",
    "versions": {},
    "seconds": 12.0,
    "date": "2026-01-02T03:04:05+00:00",
}


def run(**changes):
    return {**copy.deepcopy(RUN), **changes}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return tmp_path


def test_a_record_is_mean_and_spread_over_seeds(folder):
    other = run(seed=1, metrics={"test_accuracy": 0.92, "train_seconds": 12.0})
    results.add("toy", "default", [RUN, other])
    (record,) = json.loads((folder / "toy.json").read_text())["records"]
    assert record["seeds"] == [0, 1]
    accuracy = record["metrics"]["test_accuracy"]
    assert accuracy["mean"] == pytest.approx(0.91)
    assert accuracy["std"] == pytest.approx(0.01 * 2**0.5, rel=1e-5)
    assert record["settings"] == {"lr": 0.1}  # neither the seed nor where it ran


def test_counts_stay_exact_and_have_no_spread():
    runs = [run(seed=seed, metrics={"parameters": 133_638_952}) for seed in (0, 1)]
    results.add("toy", "default", runs)
    assert results.value("toy", "default", "parameters") == "133,638,952"


def test_a_record_of_the_same_name_is_replaced():
    results.add("toy", "default", [RUN])
    results.add("toy", "other", [RUN])
    results.add("toy", "default", [run(seed=7)])
    assert [(r["name"], r["seeds"]) for r in results.read("toy")] == [
        ("other", [0]),
        ("default", [7]),
    ]


@pytest.mark.parametrize("change", [{"data": "sample"}, {"finished": False}])
def test_samples_and_stopped_runs_are_no_results(change):
    with pytest.raises(UserError, match="is no result"):
        results.add("toy", "default", [RUN, run(**change)])


def test_tables_and_values_are_made_anew():
    results.add("toy", "default", [RUN, run(metrics={"test_accuracy": 0.92})])
    text = (
        'Ours: <!-- table toy records="default" metrics="test_accuracy" -->stale<!-- end -->\n'
        "We reach <!-- value toy default test_accuracy -->1<!-- end --> against "
        "<!-- value toy default test_accuracy SVM -->1<!-- end -->."
    )
    made = results.filled(text)
    assert "| **default** (2 seeds) | 91.00 ± 1.41 |" in made
    assert "| baseline: SVM | 80.00 |" in made
    assert "| published | 85.00 |" in made
    assert "stale" not in made
    assert "-->91.00 ± 1.41<!-- end --> against" in made
    assert results.filled(made) == made


def test_a_table_of_speed_is_empty_until_it_is_measured(folder):
    text = "<!-- speed growth -->stale<!-- end -->"
    assert results.filled(text) == "<!-- speed growth --><!-- end -->"
    tables = {"growth": [{"samples/s": "toy", "batch": "1, 2"}]}
    (folder / results.SPEED_FILE).write_text(json.dumps({"tables": tables}), encoding="utf-8")
    made = results.filled(text)
    assert "| samples/s | batch |\n| --- | ---: |\n| toy | 1, 2 |" in made
    assert results.filled(made) == made


def test_variants_are_recorded_apart():
    nested = {"causal": {"nab_score": 93.0}, "centred": {"nab_score": 97.0}, "train_seconds": 5.0}
    results.add("toy", "centred", [run(metrics=nested)], variant="centred")
    metrics = results.record("toy", "centred")["metrics"]
    assert metrics["nab_score"]["mean"] == 97.0
    assert metrics["train_seconds"]["mean"] == 5.0
    nested["centred"]["train_seconds"] = 2.0  # its own share of the run's seconds
    results.add("toy", "centred", [run(metrics=nested)], variant="centred")
    assert results.record("toy", "centred")["metrics"]["train_seconds"]["mean"] == 2.0


def test_an_unknown_record_is_named():
    with pytest.raises(UserError, match="no record named ghost"):
        results.filled("<!-- value toy ghost test_accuracy --><!-- end -->")


@pytest.fixture
def plots(tmp_path):
    """A run with a plot in many colours, one that is small already, and a transparent one."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(RUN))
    colours = np.random.default_rng(1).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC)
    picture.paste("white", (0, 0, 160, 40))  # the background of a plot
    picture.convert("RGBA").save(folder / "photos.png")
    picture.quantize(4).save(folder / "small.png", optimize=True)
    picture.putalpha(100)
    picture.save(folder / "transparent.png")
    return folder


def test_plots_are_copied_with_fewer_colours_where_that_is_smaller(plots, folder):
    results.copy_plots(plots)
    copied = folder / "plots"
    sizes = {}
    for path in plots.glob("*.png"):
        copy = copied / f"toy-{path.name}"
        sizes[path.stem] = copy.stat().st_size / path.stat().st_size
        with Image.open(path) as before, Image.open(copy) as after:
            assert before.size == after.size
            values = [np.asarray(each.convert("RGBA"), int) for each in (before, after)]
        assert np.abs(values[0] - values[1]).mean() < 4, path.name
        assert np.array_equal(values[0][:40], values[1][:40]), path.name
    assert sizes["photos"] < 0.7
    assert sizes["small"] == sizes["transparent"] == 1


def test_plots_of_a_sample_are_no_result(plots):
    (plots / "results.json").write_text(json.dumps(run(data="sample")))
    with pytest.raises(UserError, match="are no result"):
        results.copy_plots(plots)
