"""Batches: every sample once, the same after a resume, divided among processes, never too small."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.batches import Loader, in_order, shuffled, tensor_loader
from common.settings import UserError

sizes = st.integers(1, 300)


def loader_of(plan, least=1):
    return Loader(plan, lambda indices: indices, least)


@given(sizes, st.integers(1, 64), st.integers(0, 2**62), st.integers(0, 50))
def test_every_sample_once_an_epoch_in_steps_of_the_batch_size(count, batch_size, seed, epoch):
    batches = loader_of(shuffled(count, batch_size, seed)).batches(epoch)
    assert torch.cat(batches).sort().values.tolist() == list(range(count))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)


@given(st.integers(2, 300), st.integers(2, 64), st.integers(0, 9), st.integers(1, 4))
def test_processes_and_parts_divide_each_batch(count, batch_size, epoch, processes):
    if min(count, batch_size) < processes:
        return
    whole = loader_of(shuffled(count, batch_size, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(processes))
        batches = whole.batches(epoch)
        by_rank = []
        for rank in range(processes):
            patch.setenv("RANK", str(rank))
            by_rank.append(list(whole.epoch(epoch, parts=2)))
    for number, batch in enumerate(batches):
        parts = [part for own in by_rank for part, _ in own[number]]
        assert all(len(part) for part in parts)
        assert torch.cat(parts).sort().values.tolist() == batch.sort().values.tolist()
        for own in by_rank:
            assert sum(fraction for _, fraction in own[number]) == pytest.approx(1)


def test_an_epoch_is_the_same_each_time_and_another_than_the_next():
    loader = loader_of(shuffled(100, 7, seed=5))
    once, again = loader.batches(3), loader.batches(3)
    assert [a.tolist() for a in once] == [b.tolist() for b in again]
    assert [a.tolist() for a in once] != [b.tolist() for b in loader.batches(4)]


def test_only_a_short_last_batch_joins_its_neighbour():
    inputs, targets = torch.arange(10.0), torch.arange(10) * 2
    loader = loader_of(shuffled(10, 3, seed=0), least=2)
    assert [len(batch) for batch in loader.batches(0)] == [3, 3, 4]
    assert (len(loader), loader.samples) == (3, 10)
    loader = tensor_loader((inputs, targets), 3, shuffle=True)
    assert [len(batch) for batch in loader.batches(0)] == [3, 3, 3, 1]
    for (((one, other), _),) in loader.epoch(0):
        assert torch.equal(one * 2, other)


@pytest.mark.parametrize(("count", "batch_size", "least"), [(126, 1, 2), (1, 8, 2), (0, 8, 1)])
def test_batches_that_are_all_too_small_are_refused(count, batch_size, least):
    with pytest.raises(UserError, match=r"too small: .*--batch-size"):
        loader_of(in_order(count, batch_size), least)


def test_fewer_samples_than_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="a batch of 3 of 3 samples is too small: 4 are needed"):
        loader_of(in_order(3, 8))
