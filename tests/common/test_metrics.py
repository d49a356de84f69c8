"""Metrics against brute force, short last batches included."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.metrics import Sums, classification, paired_interval


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9), min_size=1))
def test_sums_over_ragged_batches_equal_the_whole(batches):
    sums = Sums(torch.device("cpu"))
    for batch in batches:
        values = torch.tensor(batch, dtype=torch.float64)
        sums.add_step(values.mean(), len(batch), {"positive": (values > 0).sum()})
    together = np.concatenate(batches)
    means = sums.means()
    assert means["loss"] == pytest.approx(together.mean(), abs=1e-9)
    assert means["positive"] == pytest.approx((together > 0).mean())


def test_the_famous_wrong_mean():
    # 64 right, then a last batch of one wrong: the error is 1/65, not 1/2
    sums = Sums(torch.device("cpu"))
    sums.add_step(torch.tensor(0.0), 64, {"wrong": 0})
    sums.add_step(torch.tensor(0.0), 1, {"wrong": 1})
    assert sums.means()["wrong"] == pytest.approx(1 / 65)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_counts_may_be_numbers_while_losses_lie_on_a_gpu():
    sums = Sums(torch.device("cuda"))
    sums.add_step(torch.tensor(1.5, device="cuda"), 64, {"right": torch.tensor(16, device="cuda")})
    assert sums.means() == {"loss": 1.5, "right": 0.25}


def test_classification_counts_by_hand():
    labels = [0, 0, 0, 1, 1, 2]
    predicted = [0, 0, 1, 1, 2, 2]
    report = classification(labels, np.eye(4)[predicted], ["a", "b", "c", "never"])
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["confusion"] == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    f1 = [2 * 1 * (2 / 3) / (1 + 2 / 3), 0.5, 2 * 0.5 / 1.5]
    assert report["macro_f1"] == pytest.approx(np.mean(f1))  # "never" does not occur
    assert report["per_class"]["never"]["support"] == 0
    assert report["per_class"]["a"]["recall"] == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_classification_agrees_with_counting(pairs):
    labels, predicted = map(list, zip(*pairs, strict=True))
    report = classification(labels, np.eye(4)[predicted], list("abcd"))
    assert report["accuracy"] == pytest.approx(np.mean([a == b for a, b in pairs]))
    for row in range(4):
        for column in range(4):
            assert report["confusion"][row][column] == pairs.count((row, column))


def test_the_paired_interval_is_narrow_where_the_rows_agree():
    draw = np.random.default_rng(1)
    other = draw.random(2000) < 0.9  # right on nine rows in ten
    own = other.copy()
    own[:40] = True  # and better on a few
    difference, low, high = paired_interval(own, other)
    assert difference == pytest.approx((own ^ other).mean())
    assert 0 < low < difference < high < 0.006
    shuffled = draw.permutation(own)  # the same mean, right on other rows
    _, low, high = paired_interval(shuffled, other)
    assert low < 0 < high
    # for independent rows the normal approximation is close
    error = 1.96 * (shuffled.astype(float) - other).std() / len(own) ** 0.5
    assert high - low == pytest.approx(2 * error, rel=0.1)
