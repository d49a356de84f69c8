"""The folder of a run: never overwritten, SAMPLE said everywhere, the right one found again."""

import csv
import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common import plots, runs
from common.downloads import Source
from common.settings import SettingError, Settings, UserError
from common.summary import results_table
from common.trained import find_trained


@dataclass
class Config(Settings):
    """Settings of a script."""

    sizes: tuple[int, ...] = (1, 2)  # some sizes
    lr: float = 0.1  # learning rate
    images: Path | None = None  # a folder


def begin(tmp_path, kind="sample", checksum="abc", **settings):
    run = runs.start("project", Config(out=tmp_path, device="cpu", **settings))
    run.begin(Source("set", kind, Path(), checksum), {"train": 2})
    return run


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path):
    assert len({begin(tmp_path, name="same").folder for _ in range(3)}) == 3


def test_a_start_that_fails_leaves_no_folder(tmp_path):
    runs.start("project", Config(out=tmp_path, device="cpu"))  # and then no data
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingError, match="no unfinished run"):
        runs.start("project", Config(out=tmp_path, device="cpu", resume="latest"))


def test_results_hold_what_the_design_names(tmp_path, capsys):
    run = begin(tmp_path, seed=4, sizes=(3,))
    run.describe_model(nn.Linear(3, 2), (torch.zeros(1, 3),))
    labels = torch.tensor([0, 1] * 20)
    returned = run.finish(
        {"accuracy": np.float32(0.5), "broken": math.nan},
        {"chance": {"accuracy": 0.5}, "worse": {"accuracy": 0.0}},
        {},
        labels=labels,
        predictions={"this run": labels, "chance": labels * 0, "worse": 1 - labels},
        plots=lambda: 1 / 0,
    )
    written = json.loads((run.folder / "results.json").read_text())
    assert written == returned
    assert written["data"] == "sample"
    assert written["metrics"]["broken"] is None
    assert written["metrics"]["train_seconds"] == 0
    assert written["models"]["Linear"] == {"parameters": 8, "trainable": 8, "flops": 12}
    assert {"python", "torch"} <= set(written["versions"])
    assert written["seed"] == written["settings"]["seed"] == 4
    words = written["command"]
    assert words.startswith("python project/train.py --seed 4")
    assert words.endswith("--sizes 3")
    difference = written["differences"]["this run"]
    assert difference["to"] == "chance"
    assert 0 < difference["low"] < difference["difference"] == 0.5
    with np.load(run.folder / "predictions.npz") as kept:
        assert kept["this run"].tolist() == kept["labels"].tolist()
    printed = capsys.readouterr()
    assert "SAMPLE DATA" in printed.out
    assert "note: plots and report are not complete: ZeroDivisionError" in printed.err


def test_a_plot_of_sample_data_says_so(tmp_path):
    run = begin(tmp_path)
    figure, _ = plots.figure()
    run.save_plot(figure, "empty.png")
    assert figure.get_suptitle() == "SAMPLE DATA"
    assert (run.folder / "empty.png").stat().st_size > 1000


def test_mistakes_are_a_table_with_the_surest_first(tmp_path):
    run = begin(tmp_path)
    probabilities = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]
    run.save_mistakes(['say "a,b"', "fine", "second"], [1, 1, 0], probabilities, ["no", "yes"])
    with (run.folder / "mistakes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["item", "truth", "prediction", "probability"],
        ['say "a,b"', "yes", "no", "0.9000"],
        ["second", "no", "yes", "0.8000"],
    ]


@pytest.mark.parametrize("hidden", [1, 7])
def test_flops_of_an_lstm_are_counted(hidden):
    lstm = nn.LSTM(5, hidden, batch_first=True)
    flops = runs.count_flops(lstm, (torch.zeros(1, 10, 5),))
    assert flops == 10 * 2 * 4 * hidden * (5 + hidden)  # two matrix products a step


def resume(tmp_path, **settings):
    run = runs.start("project", Config(out=tmp_path, device="cpu", **settings))
    return run, run.config


def test_resume_takes_the_latest_unfinished_run_and_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = begin(tmp_path, sizes=(3,), name="a", images=Path("pictures"))
    second = begin(tmp_path, lr=0.5, name="b")
    run, config = resume(tmp_path, resume="latest")
    assert (run.folder, config.lr) == (second.folder, 0.5)
    second.finish({}, {}, {})
    monkeypatch.chdir("/")
    run, config = resume(tmp_path, resume="latest")
    assert (run.folder, config.sizes) == (first.folder, (3,))
    assert config.images == tmp_path / "pictures"  # absolute since it was started
    moved = resume(tmp_path, resume="latest", images=Path("/elsewhere"))[1]
    assert moved.images == Path("/elsewhere")
    with pytest.raises(SettingError, match=r"--sizes cannot change .* has \(3,\), not \(4, 5\)"):
        resume(tmp_path, sizes=(4, 5), resume=first.folder.name)
    assert resume(tmp_path, resume="a")[0].folder == first.folder  # by its --name


def test_a_resumed_run_refuses_other_data(tmp_path):
    begin(tmp_path)
    run, _ = resume(tmp_path, resume="latest")
    with pytest.raises(UserError, match="has changed since it was started: set in"):
        run.begin(Source("set", "sample", Path(), "other"), {})
    run.begin(Source("set", "sample", Path("/moved"), "abc"), {})


def test_threads_and_precision_are_pinned(tmp_path):
    run = begin(tmp_path, precision="bfloat16", threads=1)
    assert run.precision == "bfloat16"
    _, config = resume(tmp_path, resume="latest")
    assert (config.precision, config.threads) == ("bfloat16", 1)
    saved = json.loads((begin(tmp_path).folder / "config.json").read_text())["settings"]
    assert saved["precision"] == "float32"  # what auto means here
    assert saved["threads"] >= 1


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder with --out"):
        begin(tmp_path / "file")


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError()])
def test_a_file_system_without_locks_does_not_stop_a_run(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(runs.FileLock, "acquire", refuse)
    assert (begin(tmp_path).folder / "config.json").exists()


def train(tmp_path, kind, name, parts=None, **settings):
    run = begin(tmp_path, kind, name=name, **settings)
    for part in parts or ():
        run.part(part).save_model(nn.Linear(1, 1), classes=["a"])
    if not parts:
        run.save_model(nn.Linear(1, 1), classes=["a"])
    run.finish({part: {"val_accuracy": score} for part, score in (parts or {}).items()}, {}, {})
    return run.folder


def test_the_newest_complete_run_on_real_data_is_found(tmp_path, capsys):
    real = train(tmp_path, "real", "real")
    train(tmp_path, "real", "dry", limit_batches=2)
    sample = train(tmp_path, "sample", "sample")
    begin(tmp_path, "real", name="unfinished")
    trained = find_trained("project", "", tmp_path)
    assert (trained.folder, trained.sample) == (real, False)
    assert trained.preprocessing["classes"] == ["a"]
    assert "trained on set (real data)" in capsys.readouterr().err
    named = find_trained("project", sample.name, tmp_path)
    assert (named.folder, named.sample) == (sample, True)
    assert "GENERATED SAMPLE DATA" in capsys.readouterr().err
    assert find_trained("project", str(real / "model.pt")).folder == real


def test_the_best_of_several_models_is_found(tmp_path):
    folder = train(tmp_path, "real", "two", {"one": 0.5, "the other": 0.7})
    assert find_trained("project", "", tmp_path).folder == folder / "the-other"
    assert find_trained("project", "", tmp_path, "one").folder == folder / "one"
    with pytest.raises(UserError, match=r"--model third: the run in .* has one, the-other"):
        find_trained("project", "", tmp_path, "third")


def test_no_trained_model_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"there is no finished run in .*: train first"):
        find_trained("project", "", tmp_path)
    with pytest.raises(UserError, match="there is no run gone"):
        find_trained("project", "gone", tmp_path)
    with pytest.raises(UserError, match="is not a model of other"):
        find_trained("other", str(train(tmp_path, "real", "a")))


def test_a_folder_of_runs_or_another_file_is_one_sentence(tmp_path):
    folder = train(tmp_path, "real", "a")
    with pytest.raises(UserError, match=r"is not one run .* such as .*-a"):
        find_trained("project", str(folder.parent))
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(UserError, match="is not a model of project"):
        find_trained("project", str(tmp_path / "list.pt"))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"finished": true}'])
def test_a_damaged_run_hides_no_other(tmp_path, content):
    good = train(tmp_path, "real", "good")
    bad = train(tmp_path, "real", "later")
    (bad / "results.json").write_text(content)
    assert find_trained("project", "", tmp_path).folder == good
    (bad / "config.json").write_text(content)
    with pytest.raises(SettingError, match=r"config\.json is damaged or not of a run"):
        resume(tmp_path, resume=bad.name)


def test_more_threads_than_cores_are_cut(tmp_path, capsys):
    before = torch.get_num_threads()
    assert begin(tmp_path, threads=10_000).config.threads <= (os.cpu_count() or 1)
    assert "--threads 10000 is more than" in capsys.readouterr().err
    torch.set_num_threads(before)


def test_variants_stand_in_rows_of_their_own():
    results = {
        "metrics": {"causal": {"score": 1.0}, "centred": {"score": 2.0}, "train_seconds": 9.0},
        "baselines": {"naive": {"score": 0.5}},
        "published": {"best": {"score": 3.0}},
        "data": "real",
    }
    rows = [line.split() for line in results_table(results).splitlines()]
    assert rows[0] == ["score"]
    assert [row[-1] for row in rows[1:]] == ["1", "2", "0.5", "3"]
