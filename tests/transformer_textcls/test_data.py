"""Reading, splitting and encoding news: the splits keep apart, bad files are one sentence."""

from common.errors import UserError
from common.text import UNK
from common.vectors import write_vectors

import numpy as np
import pytest
import torch

from transformer_textcls import data

ROWS = "".join(f'"{1 + i % 4}","Title {i}","word{i} common text"\n' for i in range(80))


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.fixture
def load(tmp_path):
    def load(**settings):
        return data.load(data_dir=str(tmp_path / "root"), **settings)

    return load


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return data.load(data="sample", data_dir=str(tmp_path_factory.mktemp("root")))


def test_sample_is_of_ag_news_format_and_learnable_only_in_part(sample):
    assert sample.source.kind == "sample"
    assert sample.classes == data.CLASSES
    assert {split: len(labels) for split, labels in sample.labels.items()} == {
        "train": 1520,
        "val": 80,
        "test": 400,
    }
    raw = (sample.source.folder / "train.csv").read_text(encoding="utf-8")
    assert " #39;s" in raw
    assert "\\" in raw
    assert not any("\\" in word or "39" in word for word in sample.vocabulary.words)
    shares = sample.labels["test"].bincount() / 400
    assert shares.max() < 0.35  # guessing one class is near chance


def test_sample_is_the_same_every_time(sample, tmp_path):
    again = data.load(data="sample", data_dir=str(tmp_path))
    assert again.texts == sample.texts


def test_splits_keep_apart_and_the_vocabulary_is_of_training_rows(load, write):
    news = load(csv_file=write(ROWS), val_share=0.1)
    texts = [set(news.texts[split]) for split in data.SPLITS]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 80
    assert [len(t) for t in texts] == [64, 8, 8]
    assert all((labels.bincount() > 0).all() for labels in news.labels.values())  # of each class
    known = {word for word in news.vocabulary.words if word.startswith("word")}
    assert known == {text.split()[2] for text in news.texts["train"]}
    assert (news.tokens["val"].tokens == UNK).sum() == 2 * 8  # the number and the word of each


def test_split_and_cache_do_not_depend_on_the_second_call(load, write):
    path = write(ROWS)
    first, second = load(csv_file=path), load(csv_file=path)
    assert first.texts == second.texts
    assert torch.equal(first.tokens["train"].tokens, second.tokens["train"].tokens)
    assert first.vocabulary.words == second.vocabulary.words


def test_changed_file_is_tokenised_again(load, write):
    load(csv_file=write(ROWS))
    changed = load(csv_file=write(ROWS.replace("common", "changed")))
    assert "changed" in changed.vocabulary.words
    assert "common" not in changed.vocabulary.words


def test_named_columns_and_labels(load, write):
    lines = "".join(f"{i},good film {i},{'pos' if i % 2 else 'neg'}\n" for i in range(60))
    news = load(csv_file=write("id,review,verdict\n" + lines), label_column="verdict",
                text_columns="review")  # fmt: skip
    assert news.classes == ("neg", "pos")
    assert all(text.startswith("good film") for text in news.texts["train"])


def test_numeric_labels_are_in_numeric_order(load, write):
    lines = "".join(f"{1 + i % 11},text {i}\n" for i in range(110))
    assert load(csv_file=write(lines)).classes == tuple(str(i) for i in range(1, 12))


def test_quotes_and_line_breaks_inside_fields(load, write):
    odd = '"1","She said ""no"", twice","first line\nsecond, line"\r\n'
    news = load(csv_file=write(ROWS + odd * 12))
    every = [text for texts in news.texts.values() for text in texts]
    assert every.count('She said "no", twice first line\nsecond, line') == 12


def test_a_test_file_of_its_own(load, write):
    held_out = write('"2","Only","tested"\n"2","More","tested"\n', "test.csv")
    news = load(csv_file=write(ROWS), csv_test=held_out)
    assert len(news.labels["train"]) + len(news.labels["val"]) == 80
    assert news.labels["test"].tolist() == [1, 1]  # a class that never occurs is no error
    assert "tested" not in news.vocabulary.words


def test_length_from_one_token_to_a_hundred_thousand(load, write):
    long = '"1","long","' + "very " * 100_000 + '"\n'
    news = load(
        csv_file=write(ROWS + long * 9 + '"2","","x"\n' * 9 + '"2","",""\n' * 9), max_len=50
    )
    lengths = torch.cat([tokens.lengths for tokens in news.tokens.values()])
    assert lengths.max() == 50
    assert lengths.min() == 1
    row = news.texts["train"].index(" ")
    assert news.tokens["train"].rows([row]).tokens.tolist() == [UNK]  # no text is one <unk>


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS + '"1","two columns"\n', r"line 81: 2 columns where 3"),
        (ROWS + '"1","no end,"of quote\n', r"line 81, is damaged"),
        (ROWS + '"1","never closed,\n', r"is damaged"),
        (ROWS.encode() + b'"1","caf\xe9","x"\n', r"not UTF-8"),
        ("", r"holds no rows"),
        ("one column\n" * 9, r"a label and a text"),
        ("1,same class\n" * 9, r"only one class"),
        ("label,title,text\n" + ROWS, r"only 1 rows, too few"),
    ],
)
def test_bad_file_is_one_sentence(load, write, content, message):
    with pytest.raises(UserError, match=message):
        load(csv_file=write(content))


def test_labels_out_of_range_are_one_sentence(load, write, tmp_path):
    folder = tmp_path / "root" / "ag_news"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text(ROWS)
    (folder / "test.csv").write_text(ROWS + '"5","No","class"\n')
    with pytest.raises(UserError, match=r"test.csv, row 81: the label '5' is none of 1, 2, 3, 4"):
        load(data="real")


def test_label_of_the_test_file_that_training_never_saw_is_one_sentence(load, write):
    other = write('"9","No","such class"\n', "test.csv")
    with pytest.raises(UserError, match=r"test.csv, row 1: the label '9' is none of 1, 2, 3, 4"):
        load(csv_file=write(ROWS), csv_test=other)


def test_missing_file_and_column_are_one_sentence(load, write):
    with pytest.raises(UserError, match="there is no file"):
        load(csv_file="absent.csv")
    with pytest.raises(UserError, match="no column 'verdict'"):
        load(csv_file=write(ROWS), label_column="verdict")


def test_vectors_of_another_size_and_missing_ones(sample, tmp_path):
    path = tmp_path / "small.txt"
    write_vectors(path, ["world", "match"], np.ones((2, 7)))
    found = sample.find_vectors(str(path), "", seed=0)
    assert found.matrix.shape == (len(sample.vocabulary), 7)
    assert sample.find_vectors("none", "", seed=0) is None
    assert sample.find_vectors("auto", "", seed=0).found.float().mean() > 0.7
    with pytest.raises(UserError, match="no file of word vectors"):
        sample.find_vectors("absent.txt", "", seed=0)


@pytest.mark.real
def test_real_ag_news(real_data, tmp_path):
    if not (real_data / "ag_news" / "train.csv").is_file():
        pytest.skip("AG News is absent")
    news = data.load(data="real", data_dir=str(real_data))
    assert len(news.labels["test"]) == 7600
    assert news.labels["test"].bincount().tolist() == [1900] * 4
    first = news.texts["test"][0]
    assert "\\" not in " ".join(news.vocabulary.split(first))
