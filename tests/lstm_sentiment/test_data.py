"""Reading, splitting and cutting reviews: splits keep apart, bad files are one sentence."""

import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common import settings
from common.settings import UserError
from common.text import SPLITS, pair_keys
from lstm_sentiment import baselines, data, evaluation


@pytest.fixture
def write(tmp_path):
    """Writes a set of reviews: {path: text}; the films are those of the line numbers given."""

    def write(reviews, films=None):
        folder = tmp_path / "root" / "aclImdb"
        for path, body in reviews.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body if isinstance(body, bytes) else body.encode())
        for name, lines in (films or {}).items():
            (folder / name).write_text("\n".join(lines) + "\n")
        return folder

    return write


@pytest.fixture
def load(tmp_path):
    def load(**settings):
        return data.load("real", tmp_path / "root", **settings)

    return load


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return data.load("sample", tmp_path_factory.mktemp("root"))


def plain(count=20):
    return {
        f"{part}/{name}/{i}_{9 if name == 'pos' else 2}.txt": f"{part} {name} word{i} text"
        for part in ("train", "test")
        for name in ("neg", "pos")
        for i in range(count)
    }


def test_sample_is_of_the_real_format_and_the_same_every_time(sample, tmp_path):
    assert sample.source.kind == "sample"
    assert {split: len(labels) for split, labels in sample.labels.items()} == {
        "train": 864,
        "val": 96,
        "test": 320,
    }
    assert "br" not in sample.vocabulary.words
    assert any("<br />" in sample.text("test", row) for row in range(50))
    assert sample.films == 80
    assert 0 < sample.seen.sum() < 20
    data.write_sample(tmp_path)
    for path in sample.source.folder.rglob("*.txt"):
        again = tmp_path / path.relative_to(sample.source.folder)
        assert again.read_bytes() == path.read_bytes()


def test_films_and_texts_stay_on_one_side(load, write):
    reviews = plain(60)
    for i in range(0, 60, 7):  # the same words for another film, once in capitals and with a tag
        reviews[f"train/neg/{i}_2.txt"] = reviews[f"train/pos/{(i * 3) % 60}_9.txt"].upper()
        reviews[f"train/neg/{i}_2.txt"] += "<br />"
    films = {f"train/urls_{n}.txt": [f"film{n}{i // 4}" for i in range(60)] for n in ("pos", "neg")}
    write(reviews, films)
    own = load(val_fraction=0.2)
    assert 18 <= len(own.labels["val"]) <= 24

    def sides(split):
        texts = {own.text(split, row).lower().removesuffix("<br />") for row in
                 range(len(own.labels[split]))}  # fmt: skip
        paths = map(Path, own.names[split])
        numbers = {(p.parent.name, int(p.name.split("_")[0]) // 4) for p in paths}
        return texts, numbers

    (texts, numbers), (others, other_numbers) = sides("train"), sides("val")
    assert not texts & others
    assert not numbers & other_numbers
    assert own.films == 30


def test_splits_keep_apart_and_the_vocabulary_is_of_training_rows(load, write):
    write(plain())
    reviews = load(min_frequency=1, val_fraction=0.2)
    every = [name for split in SPLITS for name in reviews.names[split]]
    assert len(every) == len(set(every)) == 80
    assert all(name.startswith("test/") for name in reviews.names["test"])
    assert not any(name.startswith("test/") for name in every[:40])
    known = set(reviews.vocabulary.words)
    assert "test" not in known
    in_train = {reviews.text("train", row).split()[2] for row in range(32)}
    assert {word for word in known if word.startswith("word")} == in_train
    assert reviews.films == 0  # unknown without urls_*.txt
    for split in SPLITS:
        positive = ["/pos/" in name for name in reviews.names[split]]
        assert reviews.labels[split].bool().tolist() == positive


def test_test_reviews_that_stand_in_train_are_marked(load, write):
    reviews = plain()
    reviews["test/pos/3_9.txt"] = reviews["train/neg/5_2.txt"]
    write(reviews)
    own = load()
    assert [own.names["test"][i] for i in own.seen.nonzero()[:, 0]] == ["test/pos/3_9.txt"]


def test_the_cache_gives_the_same_and_follows_the_files(load, write):
    folder = write(plain())
    first, second = load(), load()
    assert torch.equal(first.tokens["train"].tokens, second.tokens["train"].tokens)
    assert first.names == second.names
    path = folder / first.names["train"][0]
    path.write_text("changed changed")
    assert "changed" in load().vocabulary.words
    shutil.rmtree(folder / "train" / "pos")
    with pytest.raises(UserError, match="train/pos missing"):
        load()


def test_cutting_keeps_first_and_last(load, write):
    reviews = plain() | {"train/pos/0_9.txt": " ".join(f"w{i}" for i in range(100_000))}
    reviews |= {"train/pos/1_9.txt": "", "train/pos/2_9.txt": "<br />", "train/pos/4_9.txt": "one"}
    write(reviews)
    own = load(max_len=6, min_frequency=1, val_fraction=0.05)
    row = own.whole["train"].lengths.argmax()  # the split is by hash: the same on every machine
    words = [own.vocabulary.words[t] for t in own.tokens["train"].rows(row[None]).tokens]
    assert words == ["w0", "w1", "w2", "w99997", "w99998", "w99999"]
    assert own.tokens["train"].lengths.max() == 6
    assert own.tokens["train"].lengths.min() == 1  # an empty review is one <unk>
    assert own.whole["train"].lengths.max() == 100_000


def test_odd_files_are_left_out_or_read_with_a_note(load, write, capsys):
    reviews = {f"{path[:-6]}.txt": body for path, body in plain().items()}  # no ratings in names
    reviews |= {f"train/pos/{name}": "no review" for name in (".DS_Store", "._0_9.txt", "a.md")}
    write(reviews | {"train/neg/31_1.txt": b"caf\xe9"})
    own = load(min_frequency=1, val_fraction=0.1)
    assert sum(own.counts().values()) == 81
    assert "café" in own.vocabulary.words
    notes = capsys.readouterr().err
    assert "1 files that are not .txt were left out (a.md" in notes
    assert "Windows-1252" in notes


def test_a_table_of_reviews(load, tmp_path):
    rows = [f"{name} film {i},{label}" for i in range(30) for name, label in
            (("good", "pos"), ("bad", "0"), ("fine", "Positive"))]  # fmt: skip
    table = tmp_path / "own.csv"
    table.write_text("\n".join(["review,sentiment", *rows, ",pos"]) + "\n")
    own = load(csv=table, min_frequency=1, val_fraction=0.1)
    assert sum(own.counts().values()) == 90
    assert min(own.counts().values()) >= 6
    for split in SPLITS:
        texts = [own.text(split, row) for row in range(len(own.labels[split]))]
        assert [not text.startswith("bad") for text in texts] == own.labels[split].bool().tolist()
    table.write_text("review,sentiment\n" + "\n".join(f"film {i},{i % 3}" for i in range(30)))
    with pytest.raises(UserError, match="the label '2'"):
        load(csv=table)


def test_chinese_is_said_to_need_subwords(load, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(settings, "_warned", set())
    rows = [f"{'坏好'[i % 2]}电影今天天气很好{chr(0x4E00 + i)},{i % 2}" for i in range(60)]
    table = tmp_path / "zh.csv"
    table.write_text("\n".join(["review,sentiment", *rows]) + "\n", encoding="utf-8")
    load(csv=table)
    assert "use --tokenizer subword" in capsys.readouterr().err


def test_unlabelled_reviews_are_no_test_review(load, write):
    reviews = plain() | {f"train/unsup/{i}_0.txt": f"unlabelled view {i}" for i in range(9)}
    reviews["train/unsup/9_0.txt"] = "Test... neg WORD3<br />text"
    write(reviews)
    for unlabelled in (True, False):
        own = load(min_frequency=1, unlabelled=unlabelled)
        assert len(own.learnable) == len(own.labels["train"]) + 9 * unlabelled
        assert ("unlabelled" in own.vocabulary.words) == unlabelled


@pytest.mark.parametrize(
    ("absent", "films", "message"),
    [
        ("test/neg", {}, "test/neg missing"),
        ("-", {"pos": ["film"] * 7, "neg": ["film"] * 20}, r"pos.txt has 7 lines, but review 19"),
        ("-", {"pos": ["film"] * 20, "neg": ["film"] * 20}, "split val would have no reviews"),
    ],
    ids=["no class", "short file of films", "one film"],
)
def test_data_that_cannot_be_used_is_one_sentence(load, write, absent, films, message):
    reviews = {path: body for path, body in plain().items() if not path.startswith(absent)}
    write(reviews, {f"train/urls_{name}.txt": lines for name, lines in films.items()})
    with pytest.raises(UserError, match=message):
        load()


def test_regions_are_the_commonest_pairs_of_the_training_split(load, write):
    write({path: f"not good w{number}" for number, path in enumerate(plain())})
    reviews = load(min_frequency=1)
    words, size = reviews.vocabulary.words, len(reviews.vocabulary)
    keys = pair_keys(reviews.learnable, size, 2).tolist()
    pairs = {(words[key // size], words[key % size]) for key in keys}
    assert pairs == {("<pad>", "not"), ("not", "good")}
    assert len(pair_keys(reviews.learnable, size, 100)) == 2 + len(reviews.labels["train"])
    assert pair_keys(reviews.learnable, size, 0) is None


def test_baselines_count_words_and_pairs_inside_a_review(sample):
    from sklearn.feature_extraction.text import CountVectorizer

    tokens, size = sample.whole["val"], len(sample.vocabulary)
    keys = baselines.frequent_grams([tokens], size)
    counts = baselines.gram_counts(tokens, size, keys)
    ends = tokens.offsets.tolist()
    lists = [tokens.tokens[a:b].tolist() for a, b in pairwise(ends)]
    texts = [" ".join(map(str, row)) for row in lists]
    expected = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+").fit_transform(texts)
    often = np.asarray(expected.sum(0)).ravel() > 1
    assert counts.sum() == expected[:, often].sum()
    assert counts.shape == (96, often.sum())
    assert sorted(counts.sum(0)) == sorted(np.asarray(expected[:, often].sum(0)).ravel())
    assert (counts.sum(1) > 0).all()


def test_scores_of_a_known_prediction(sample):
    labels = sample.labels["test"]
    probabilities = labels * 0.8 + 0.1
    wrong = torch.cat([sample.seen.nonzero()[:2, 0], (~sample.seen).nonzero()[:3, 0]])
    probabilities[wrong] = 1 - probabilities[wrong]
    scores = evaluation.scores(sample, probabilities.numpy() - 0.5)
    assert scores["test_accuracy"] == pytest.approx(315 / 320)
    unseen = 320 - int(sample.seen.sum())
    assert scores["unseen_accuracy"] == pytest.approx((unseen - 3) / unseen)

    printed, kept = [], []
    run = SimpleNamespace(print=printed.append, save_mistakes=lambda *each: kept.append(each))
    extra = evaluation.report(run, sample, probabilities)
    assert len(printed) == 1 + 5
    assert "0.900 positive, truly negative" in "\n".join(printed)
    assert kept[0][2].argmax(1).ne(kept[0][1]).sum() == 5
    # sure to 0.9, right in 315 of 320
    error = evaluation.calibration_error(extra["calibration"])
    assert error == pytest.approx(abs(0.9 - 315 / 320), abs=1e-6)
    assert np.trace(extra["confusion"]) == 315
    assert sum(count for *_, count in extra["by_length"]) == 320
    # a class that never occurs is no error
    only = labels.bool()
    one = evaluation.calibration(labels[only], probabilities[only])
    assert all(positive == 1 for _, positive, _ in one)


@pytest.mark.real
def test_real_reviews(real_data):
    if not (real_data / "aclImdb" / "train" / "pos").is_dir():
        pytest.skip("the Large Movie Review Dataset is absent")
    reviews = data.load("real", real_data)
    assert sum(len(reviews.labels[split]) for split in ("train", "val")) == 25_000
    assert reviews.labels["test"].sum() == 12_500
    assert reviews.films == 3456
    assert 100 < reviews.seen.sum() < 300
    assert "br" not in reviews.vocabulary.words[:2000]
