"""AG News and the user's table as token numbers: splits keep apart, caches know what made them."""

import csv

import pytest
import torch

from common import text
from common.settings import UserError
from common.text import SPLITS, UNK, pair_keys
from transformer_textcls import data

ROWS = "".join(f'"{1 + i % 4}","Title {i}","word{i} common text"\n' for i in range(80))
HEADER = "Class Index,Title,Description\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return write


@pytest.fixture
def load(tmp_path):
    return lambda **settings: data.load(data_dir=tmp_path / "root", **settings)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return data.load(data="sample", data_dir=tmp_path_factory.mktemp("root"))


def test_sample_is_of_ag_news_format_and_learnable_only_in_part(sample):
    assert sample.source.kind == "sample"
    assert sample.classes == data.CLASSES
    assert sample.counts() == {"train": 1520, "val": 80, "test": 400}
    raw = (sample.source.folder / "train.csv").read_text(encoding="utf-8")
    assert " #39;s" in raw
    assert "\\" in raw
    assert not any("\\" in word or "39" in word for word in sample.vocabulary.words)
    assert sample.labels["test"].bincount().max() < 0.35 * 400  # one class alone is near chance


def test_sample_is_the_same_every_time(sample, tmp_path):
    assert data.load(data="sample", data_dir=tmp_path).texts == sample.texts


def test_splits_keep_apart_and_the_vocabulary_is_of_training_rows(load, write):
    news = load(csv=write(ROWS), val_fraction=0.1)
    texts = [set(news.texts[split]) for split in SPLITS]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 80
    assert [len(part) for part in texts] == [64, 8, 8]
    assert all((labels.bincount() == len(labels) // 4).all() for labels in news.labels.values())
    known = {word for word in news.vocabulary.words if word.startswith("word")}
    assert known == {text.split()[2] for text in news.texts["train"]}
    assert (news.tokens["val"].tokens == UNK).sum() == 2 * 8  # the number and the word of each


def test_the_cache_knows_content_and_settings(load, write, monkeypatch):
    made = []
    monkeypatch.setattr(
        text, "prepare", lambda *a, _real=text.prepare, **k: made.append(k) or _real(*a, **k)
    )
    first, second = load(csv=write(ROWS)), load(csv=write(ROWS))
    assert len(made) == 1
    assert torch.equal(first.tokens["train"].tokens, second.tokens["train"].tokens)
    assert first.vocabulary.words == second.vocabulary.words
    changed = load(csv=write(ROWS.replace("common", "changed")))
    assert "changed" in changed.vocabulary.words
    assert "common" not in changed.vocabulary.words
    load(csv=write(ROWS), tokenizer="words")
    load(csv=write(ROWS), val_fraction=0.2)
    assert len(made) == 4


@pytest.mark.parametrize("header", ["", HEADER])
def test_ag_news_with_and_without_a_header(load, write, header):
    write(header + ROWS, "root/ag_news/train.csv")
    write(header + '"2","Only","tested"\n', "root/ag_news/test.csv")
    news = load(data="real")
    assert news.classes == data.CLASSES
    assert news.counts() == {"train": 76, "val": 4, "test": 1}
    assert news.labels["test"].tolist() == [1]
    assert news.source.note == "80 of 120,000 training rows"
    assert "tested" not in news.vocabulary.words


@pytest.mark.parametrize("name", ["csv", "csv_test"])
def test_missing_file_is_one_sentence(load, write, tmp_path, name):
    files = {"csv": write(ROWS), "csv_test": write(ROWS, "test.csv")}
    with pytest.raises(UserError, match=r"absent\.csv"):
        load(**(files | {name: tmp_path / "absent.csv"}))


def test_chinese_is_said_to_need_subwords(load, tmp_path, capsys):
    sentences = ("今天天气很好我们去公园", "股票市场今天大幅下跌")
    with (tmp_path / "zh.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([i % 2, sentences[i % 2] + chr(0x4E00 + i)] for i in range(60))
    load(csv=tmp_path / "zh.csv")
    assert "use --tokenizer subword" in capsys.readouterr().err
    pytest.importorskip("tokenizers", reason="the optional library tokenizers is missing")
    news = load(csv=tmp_path / "zh.csv", tokenizer="subword", max_size=100)
    assert (news.tokens["test"].tokens != UNK).float().mean() > 0.5


def test_the_sample_has_vectors_of_its_own(sample):
    vectors = sample.find_vectors("auto", None, seed=0)
    assert vectors.known.float().mean() > 0.7
    assert "of 100 numbers for" in sample.describe(vectors, 32)
    assert sample.find_vectors("none", None, seed=0) is None


def test_the_commonest_pairs_are_those_of_training_texts(load, write):
    news = load(csv=write(ROWS), val_fraction=0.1)
    number = {word: row for row, word in enumerate(news.vocabulary.words)}
    start, title, common, text_ = 0, number["title"], number["common"], number["text"]
    words = len(news.vocabulary)
    best = sorted([start * words + title, common * words + text_])  # in each of 64 texts
    assert pair_keys(news.tokens["train"], words, 2).tolist() == best
    every = pair_keys(news.tokens["train"], words, 10**6)
    assert len(every) == 2 + 3 * 64  # (title, 7), (7, word7), (word7, common) in one text each
    assert (every.diff() > 0).all()
    assert pair_keys(news.tokens["train"], words, 0) is None


@pytest.mark.real
def test_real_ag_news(real_data):
    if not (real_data / "ag_news" / "train.csv").is_file():
        pytest.skip("AG News is absent")
    news = data.load(data="real", data_dir=real_data)
    assert news.labels["test"].bincount().tolist() == [1900] * 4
    trained_on = torch.cat([news.labels["train"], news.labels["val"]])
    if len(trained_on) != data.FULL_TRAIN:
        assert trained_on.bincount().tolist() == [17_473, 17_506, 17_442, 18_165]
    assert "\\" not in " ".join(news.vocabulary.split(news.texts["test"][0]))
