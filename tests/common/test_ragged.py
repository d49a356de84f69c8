"""common/ragged.py: flat rows, and batches by length."""

from common.batches import Loader
from common.ragged import Ragged, buckets, original_order, pad, padding_share

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

rows_of_tokens = st.lists(st.lists(st.integers(1, 99), max_size=12), min_size=1, max_size=20)


def as_lists(ragged: Ragged) -> list[list[int]]:
    return [part.tolist() for part in ragged.tokens.split(ragged.lengths.tolist())]


@settings(max_examples=60, deadline=None)
@given(rows_of_tokens, st.integers(1, 9), st.randoms())
def test_rows_and_truncation_equal_python_lists(rows, longest, random):
    ragged = Ragged.of(rows)
    chosen = [random.randrange(len(rows)) for _ in range(5)]
    assert as_lists(ragged.rows(chosen)) == [rows[i] for i in chosen]
    assert as_lists(ragged.truncated(longest)) == [row[:longest] for row in rows]
    assert as_lists(ragged.truncated(longest, "last")) == [row[-longest:] for row in rows]
    head, tail = (longest + 1) // 2, longest // 2
    both = [row if len(row) <= longest else row[:head] + row[len(row) - tail :] for row in rows]
    assert as_lists(ragged.truncated(longest, "both")) == both


def test_pad_cuts_to_the_longest_of_the_batch():
    ragged = Ragged.of([[5, 6, 7, 8, 9], [1], [2, 3]])
    ids, lengths = pad(ragged, torch.tensor([2, 1]))
    assert ids.tolist() == [[2, 3], [1, 0]]
    assert ids.dtype == torch.int64
    assert lengths.tolist() == [2, 1]


def test_buckets_drop_nothing_and_follow_seed_and_epoch():
    lengths = torch.randint(1, 200, (1003,), generator=torch.Generator().manual_seed(0))
    plan = buckets(lengths, 16, seed=3)
    first = plan(0)
    assert sorted(torch.cat(first).tolist()) == list(range(1003))
    assert sorted({len(batch) for batch in first}) == [1003 % 16, 16]
    assert all(
        torch.equal(a, b) for a, b in zip(first, buckets(lengths, 16, seed=3)(0), strict=True)
    )
    assert not torch.equal(torch.cat(first), torch.cat(plan(1)))
    assert not torch.equal(torch.cat(first), torch.cat(buckets(lengths, 16, seed=4)(0)))


def test_buckets_pad_less_than_a_plain_shuffle_and_do_not_come_by_length():
    lengths = torch.randint(1, 200, (2000,), generator=torch.Generator().manual_seed(0))
    plan = buckets(lengths, 16)
    assert padding_share(lengths, plan) < 0.05
    assert padding_share(lengths, lambda epoch: list(torch.arange(2000).split(16))) > 0.4
    longest = [int(lengths[batch].max()) for batch in plan(0)]
    assert longest != sorted(longest)


def test_predictions_come_back_in_the_order_of_the_rows():
    ragged = Ragged.of([[i] * n for i, n in enumerate([4, 1, 3, 9, 2], start=1)])
    plan = buckets(ragged.lengths, 2, shuffle=False)
    loader = Loader(plan, lambda rows: pad(ragged, rows)[0][:, 0])
    values = torch.cat(list(loader.epoch(0)))
    assert original_order(plan, values).tolist() == [1, 2, 3, 4, 5]
