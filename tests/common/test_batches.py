"""Batches: every sample once, the same after a resume, shared out over processes."""

from common.batches import Loader, in_order, shuffled, tensor_loader
from common.errors import UserError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

sizes = st.integers(2, 300)


@given(sizes, st.integers(1, 64), st.integers(0, 2**62), st.integers(0, 50))
def test_every_sample_once_an_epoch(count, batch_size, seed, epoch):
    batches = Loader(shuffled(count, batch_size, seed), lambda indices: indices).batches(epoch)
    assert torch.cat(batches).sort().values.tolist() == list(range(count))
    assert all(len(batch) >= 2 for batch in batches)


@given(sizes, st.integers(2, 64), st.integers(0, 10), st.integers(2, 4))
def test_processes_share_out_each_batch(count, batch_size, epoch, processes):
    if count < processes:
        return
    whole = Loader(shuffled(count, batch_size, 1), lambda indices: indices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(processes))
        alone = whole.batches(epoch)
        shares = []
        for rank in range(processes):
            patch.setenv("RANK", str(rank))
            shares.append(list(whole.epoch(epoch)))
    for number, batch in enumerate(alone):
        parts = [share[number] for share in shares]
        assert all(len(part) for part in parts)
        assert torch.cat(parts).sort().values.tolist() == batch.sort().values.tolist()


def test_resuming_in_the_middle_sees_the_same_batches():
    loader = Loader(shuffled(100, 7, seed=5), lambda indices: indices)
    whole, rest = list(loader.epoch(3)), list(loader.epoch(3, start=6))
    assert [a.tolist() for a in whole[6:]] == [b.tolist() for b in rest]
    assert [a.tolist() for a in whole] != [b.tolist() for b in loader.epoch(4)]


def test_rows_stay_together():
    inputs, targets = torch.arange(10.0), torch.arange(10) * 2
    loader = tensor_loader((inputs, targets), 3, shuffle=True)
    assert (len(loader), loader.samples) == (3, 10)  # the last one of 10 joins the third batch
    for one, other in loader.epoch(0):
        assert torch.equal(one * 2, other)


def test_fewer_samples_than_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="3 samples are too few for 4 processes"):
        Loader(in_order(3, 8), lambda indices: indices)
