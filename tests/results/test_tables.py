"""Tables of the READMEs: they follow from the records, and say what is not known."""

import json

import pytest

from results import records, tables

pytestmark = pytest.mark.usefixtures("results")


def test_tables_and_values_are_made_from_the_records(make_run):
    runs = [make_run(), make_run(1, metrics={"test_accuracy": 0.92})]
    records.add("toy", "default", "python toy/train.py", runs)
    text = (
        'Ours: <!-- table toy records="default" metrics="test_accuracy" -->stale<!-- end -->\n'
        "We reach <!-- value toy default test_accuracy -->1<!-- end --> against "
        "<!-- value toy default test_accuracy SVM -->1<!-- end -->."
    )
    filled = tables.filled(text)
    assert "| **default** (2 seeds) | 91.00 ± 1.41 |" in filled
    assert "| baseline: SVM | 80.00 |" in filled
    assert "| published | 85.00 |" in filled
    assert "stale" not in filled
    assert "-->91.00 ± 1.41<!-- end --> against" in filled
    assert "-->80.00<!-- end -->." in filled
    assert "<!-- note -->" not in filled
    assert tables.filled(filled) == filled


def test_alone_and_nested_published_figures(make_run):
    records.add("toy", "default", "", [make_run(published={"Ann 2016": {"test_accuracy": 0.8}})])
    assert "| published: Ann 2016 | 80.00 |" in tables.table("toy", ["default"], ["test_accuracy"])
    assert tables.table("toy", ["default"], ["test_accuracy"], alone=True).count("\n") == 2


def test_a_difference_stands_beside_the_figure_with_its_interval(make_run, results):
    records.add("toy", "default", "", [make_run()])
    records.add("toy", "other", "", [make_run()])
    path = results / "toy.json"
    content = json.loads(path.read_text())
    gain = {"to": "SVM", "of": "accuracy", "mean": 0.1, "low": 0.05, "high": 0.15}
    content["records"][0]["difference"] = gain
    path.write_text(json.dumps(content))
    text = tables.table("toy", ["default", "other"], ["test_accuracy"])
    assert text.endswith(
        "\n\nDifference on the same test rows, with its 95 % interval: "
        "default +10.00 points (+5.00 to +15.00) to SVM."
    )


def test_an_earlier_version_carries_a_star_and_a_note(make_run, results):
    records.add("toy", "default", "", [make_run()])
    path = results / "toy.json"
    content = json.loads(path.read_text())
    del content["records"][0]["commit"], content["records"][0]["difference"]
    path.write_text(json.dumps(content))
    filled = tables.filled("<!-- value toy default test_accuracy --><!-- end --> %\n")
    assert r"-->90.00 \*<!-- end --> %" in filled
    assert filled.count("Measured with an earlier version") == 1
    assert tables.filled(filled) == filled
    records.add("toy", "default", "", [make_run()])  # made again: star and note go
    assert tables.filled(filled) == (
        "<!-- value toy default test_accuracy -->90.00<!-- end --> %\n"
    )


def test_what_is_not_recorded_yet_is_said():
    assert "| **ghost** (not recorded yet) | - |" in tables.table("toy", ["ghost"], ["mae"])
    assert tables.value("toy", "ghost", "mae") == "(not recorded yet)"


@pytest.mark.parametrize(
    ("metric", "value", "std", "text"),
    [
        ("test_accuracy", 0.91234, 0.001, "91.23 ± 0.10"),
        ("r2", 0.8917, 0.0024, "0.892 ± 0.002"),
        ("nab_score", 94.53, 1.02, "94.5 ± 1.0"),
        ("parameters", 133_638_952, 0.0, "133,638,952"),
        ("windows_found", 5, None, "5"),
        ("mae", None, None, "-"),
    ],
)
def test_figures_have_their_useful_digits(metric, value, std, text):
    assert tables.figure_text(metric, value, std) == text


def test_a_table_of_speed_is_empty_until_it_is_measured(results):
    text = "<!-- speed growth -->stale<!-- end -->\n"
    assert tables.filled(text) == "<!-- speed growth --><!-- end -->\n"
    results.mkdir()
    rows = {"growth": [{"samples/s": "toy", "batch": "1, 2"}]}
    (results / "speed.json").write_text(json.dumps({"tables": rows}), encoding="utf-8")
    filled = tables.filled(text)
    assert "| samples/s | batch |\n| --- | ---: |\n| toy | 1, 2 |" in filled
    assert tables.filled(filled) == filled


def test_phases_are_those_of_the_slowest_run(make_run):
    """One seed fits the baselines, the next finds them in the cache."""
    spent = [{"data": 1.0, "baselines": 5.0}, {"data": 2.0, "baselines": 0.04}]
    runs = [make_run(seed, phases=phases) for seed, phases in enumerate(spent)]
    records.add("toy", "default", "", runs)
    filled = tables.filled("<!-- phases toy=default ghost=none --><!-- end -->\n")
    assert "| toy | 2.0 | 0.0 | 0.0 | 5.0 | 0.0 |" in filled
    assert "| ghost (not recorded yet) | - |" in filled
    assert tables.filled(filled) == filled


def test_values_of_published_sources_and_minutes(make_run):
    records.add("toy", "default", "", [make_run(published={"Ann": {"test_accuracy": 0.85}})])
    assert tables.value("toy", "default", "test_accuracy", "Ann") == "85.00"
    assert tables.value("toy", "default", "minutes") == "1 min"


def test_marks_that_stand_close_do_not_swallow_each_other():
    text = "<!-- speed one --><!-- end -->\nkept\n<!-- speed none --><!-- end -->\n"
    assert "\nkept\n<!-- speed none --><!-- end -->" in tables.filled(text)
