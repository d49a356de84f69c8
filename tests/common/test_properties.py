"""For any input (hypothesis draws it): parsers, splits, metrics and settings keep their promise."""

import contextlib
import io

from common import series, vectors
from common.config import Settings, parse
from common.errors import UserError
from common.metrics import classification
from common.ragged import buckets
from common.splitting import FEWEST, split

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

few = settings(max_examples=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def attempt(call, *arguments):
    """What the call returns, and the sentence or the exit code with which it ends instead."""
    try:
        return call(*arguments), ""
    except UserError as error:
        return None, str(error)
    except SystemExit as error:
        return None, error.code


# Parsers


@few
@given(st.data(), st.integers(6, 40), st.randoms(use_true_random=False))
def test_a_series_keeps_every_value_at_its_time(folder, data, count, random):
    """Rows in any order, some twice, some absent, some empty: each value stands at its time."""
    times = pd.date_range("2024-01-01", periods=count, freq="h")
    values = [round(random.uniform(-1e6, 1e6), 3) for _ in times]
    gaps = data.draw(st.sets(st.integers(1, count - 2), max_size=count // 3))
    empty = data.draw(st.sets(st.integers(0, count - 1), max_size=2))
    # Two neighbours must remain, or the spacing cannot be seen.
    rows = [i for i in range(count) if i not in gaps - {1, 2}]
    rows += data.draw(st.lists(st.sampled_from(rows), max_size=3))
    random.shuffle(rows)
    lines = [f"{times[i]},{'' if i in empty else values[i]}" for i in rows]
    path = folder / "series.csv"
    path.write_text("\n".join(["time,value", *lines]))
    steps = np.diff(sorted(set(rows)))
    sizes, counts = np.unique(steps, return_counts=True)
    if sizes[counts.argmax()] != 1:
        return  # most rows that remain lie further apart: that is then the spacing
    found = series.read_series(path, "time", ["value"])
    assert (found.times == times).all()
    expected = [values[i] if i in rows and i not in empty else np.nan for i in range(count)]
    np.testing.assert_array_equal(found.values[:, 0], expected)


@few
@given(st.text(max_size=60) | st.binary(max_size=60), st.booleans())
def test_any_file_is_a_series_or_one_sentence(folder, content, headed):
    path = folder / "any.csv"
    body = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    path.write_bytes((b"time,value\n" if headed else b"") + body)
    found, sentence = attempt(series.read_series, path, "time", ["value"])
    if found is None:
        assert str(path) in sentence
        assert "\n" not in sentence
    else:
        assert len(found.times) == len(found.values) >= 3


words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=9)


@few
@given(st.lists(words, min_size=1, max_size=8, unique=True), st.integers(3, 5), st.integers(0, 99))
def test_vectors_come_back_as_written(folder, names, width, seed):
    matrix = np.random.default_rng(seed).normal(size=(len(names), width)).round(5)
    path = folder / "vectors.txt"
    vectors.write_vectors(path, names, matrix)
    held = vectors._read(path)
    assert held["words"] == names
    np.testing.assert_allclose(held["vectors"], matrix, atol=1e-6)


@few
@given(st.data())
def test_a_damaged_file_of_vectors_is_read_or_one_sentence(folder, data):
    path = folder / "damaged.txt"
    vectors.write_vectors(path, ["the", "film", "is"], np.ones((3, 4)))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:place] + data.draw(st.binary(max_size=4)) + whole[place + 2 :])
    held, sentence = attempt(vectors._read, path)
    if held is None:
        assert str(path) in sentence
    else:
        assert len(held["words"]) == len(held["vectors"])
        assert np.isfinite(held["vectors"]).all()


# Splits and batches


@few
@given(st.lists(st.integers(FEWEST, 40), min_size=2, max_size=4), st.integers(0, 99))
def test_splits_are_disjoint_complete_and_keep_groups(sizes, seed):
    """Groups of one to three images; each class has enough of them."""
    draw = np.random.default_rng(seed)
    labels, groups = [], []
    for label, size in enumerate(sizes):
        for _ in range(size):
            members = int(draw.choice([1, 1, 1, 2, 3]))
            labels += [label] * members
            groups += [len(set(groups))] * members
    order = draw.permutation(len(labels))
    labels, groups = torch.tensor(labels)[order], torch.tensor(groups)[order]
    parts = split(labels, groups, [str(n) for n in range(len(sizes))])
    rows = torch.cat([parts[name] for name in ("train", "val", "test")])
    assert rows.sort().values.tolist() == list(range(len(labels)))
    kept = [set(groups[part].tolist()) for part in parts.values()]
    assert sum(map(len, kept)) == len(set().union(*kept))
    for part in parts.values():
        assert set(labels[part].tolist()) == set(range(len(sizes)))


@few
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(0, 9),
    st.booleans(),
)
def test_buckets_drop_nothing(lengths, batch_size, epoch, shuffle):
    batches = buckets(torch.tensor(lengths), batch_size, seed=1, shuffle=shuffle)(epoch)
    assert torch.cat(batches).sort().values.tolist() == list(range(len(lengths)))
    assert sum(len(batch) < batch_size for batch in batches) <= 1


# Metrics and settings


@few
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_class_figures_are_scikit_learns(pairs):
    labels, predicted = map(list, zip(*pairs, strict=True))
    report = classification(labels, np.eye(4)[predicted], list("abcd"))
    assert report["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    present = sorted(set(labels))
    macro = f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    assert report["macro_f1"] == pytest.approx(macro)
    for row in range(4):
        for column in range(4):
            assert report["confusion"][row][column] == pairs.count((row, column))


argument = st.sampled_from(["--epochs", "--lr", "--seed", "--data", "--compile", "--nonsense"])
value = st.one_of(st.integers().map(str), st.floats().map(str), st.text(max_size=8))


@few
@given(st.lists(st.tuples(argument, value), max_size=3))
def test_any_command_line_is_settings_or_one_sentence(pairs):
    words = [word for pair in pairs for word in pair]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        found, end = attempt(parse, Settings, words)
    if found is None:  # tyro's exit code (2, or 0 where help was asked for), or a sentence
        assert end in (0, 2) or (end.startswith("--") and "\n" not in end)
    else:
        assert found.epochs >= 1
        assert 0 < found.lr < np.inf
