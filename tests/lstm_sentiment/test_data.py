"""Reading, splitting and cutting reviews: splits keep apart, bad files are one sentence."""

import shutil
from itertools import pairwise

from common.errors import UserError
from common.vectors import write_vectors

import numpy as np
import pytest
import torch

from lstm_sentiment import baselines, data, inspection


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
        return data.load("real", str(tmp_path / "root"), **settings)

    return load


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return data.load("sample", str(tmp_path_factory.mktemp("root")))


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
    again = data.load("sample", str(tmp_path))
    assert torch.equal(again.tokens["train"].tokens, sample.tokens["train"].tokens)
    assert [p.name for p in again.paths["val"]] == [p.name for p in sample.paths["val"]]


def test_films_and_texts_stay_on_one_side(load, write):
    reviews = plain(60)
    for i in range(0, 60, 7):  # the same words for another film, once in capitals and with a tag
        reviews[f"train/neg/{i}_2.txt"] = reviews[f"train/pos/{(i * 3) % 60}_9.txt"].upper()
        reviews[f"train/neg/{i}_2.txt"] += "<br />"
    films = {f"train/urls_{n}.txt": [f"film{n}{i // 4}" for i in range(60)] for n in ("pos", "neg")}
    write(reviews, films)
    own = load(val_share=0.2)
    assert 18 <= len(own.labels["val"]) <= 24

    def sides(split):
        texts = {own.text(split, row).lower().removesuffix("<br />") for row in
                 range(len(own.labels[split]))}  # fmt: skip
        numbers = {(p.parent.name, int(p.name.split("_")[0]) // 4) for p in own.paths[split]}
        return texts, numbers

    (texts, numbers), (others, other_numbers) = sides("train"), sides("val")
    assert not texts & others
    assert not numbers & other_numbers
    assert own.films == 30


def test_splits_keep_apart_and_the_vocabulary_is_of_training_rows(load, write):
    write(plain())
    reviews = load(min_frequency=1, val_share=0.2)
    every = [path for split in data.SPLITS for path in reviews.paths[split]]
    assert len(every) == len(set(every)) == 80
    assert all("/test/" in path.as_posix() for path in reviews.paths["test"])
    assert not any("/test/" in path.as_posix() for path in every[:40])
    known = set(reviews.vocabulary.words)
    assert "test" not in known
    in_train = {reviews.text("train", row).split()[2] for row in range(32)}
    assert {word for word in known if word.startswith("word")} == in_train
    assert reviews.films == 0  # unknown without urls_*.txt
    for split in data.SPLITS:
        positive = [path.parent.name == "pos" for path in reviews.paths[split]]
        assert reviews.labels[split].bool().tolist() == positive


def test_test_reviews_that_stand_in_train_are_marked(load, write):
    reviews = plain()
    reviews["test/pos/3_9.txt"] = reviews["train/neg/5_2.txt"]
    write(reviews)
    own = load()
    assert [own.paths["test"][i].name for i in own.seen.nonzero()[:, 0]] == ["3_9.txt"]


def test_the_cache_gives_the_same_and_follows_the_files(load, write):
    folder = write(plain())
    first, second = load(), load()
    assert torch.equal(first.tokens["train"].tokens, second.tokens["train"].tokens)
    assert first.paths == second.paths
    path = first.paths["train"][0]
    path.write_text("changed changed")
    assert "changed" in load().vocabulary.words
    shutil.rmtree(folder / "train" / "pos")
    with pytest.raises(UserError, match="train/pos missing"):
        load()


def test_cutting_keeps_first_and_last(load, write):
    reviews = plain() | {"train/pos/0_9.txt": " ".join(f"w{i}" for i in range(100_000))}
    reviews |= {"train/pos/1_9.txt": "", "train/pos/2_9.txt": "<br />", "train/pos/4_9.txt": "one"}
    write(reviews)
    own = load(max_len=6, min_frequency=1, val_share=0.05)
    row = own.whole["train"].lengths.argmax()  # the split is by hash: the same on every machine
    words = [own.vocabulary.words[t] for t in own.tokens["train"].rows(row[None]).tokens]
    assert words == ["w0", "w1", "w2", "w99997", "w99998", "w99999"]
    assert own.tokens["train"].lengths.max() == 6
    assert own.tokens["train"].lengths.min() == 1  # an empty review is one <unk>
    assert own.whole["train"].lengths.max() == 100_000


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("train/pos/99.txt", "no rating", r"99.txt is not named ID_RATING.txt"),
        ("train/pos/a_8.txt", "no number", r"a_8.txt is not named"),
        ("train/pos/99_11.txt", "eleven stars", r"has the rating 11: a review in pos has 6 to 10"),
        ("test/neg/99_8.txt", "praised", r"has the rating 8: a review in neg has 1 to 5"),
        ("train/neg/99_1.txt", b"caf\xe9", r"99_1.txt is not UTF-8"),
        ("train/urls_pos.txt", b"caf\xe9\n" * 20, r"urls_pos.txt is not UTF-8"),
    ],
)
def test_bad_file_is_one_sentence(load, write, path, body, message):
    write(plain() | {path: body})
    with pytest.raises(UserError, match=message):
        load()


def test_class_without_any_review_is_one_sentence(load, write):
    write({path: body for path, body in plain().items() if not path.startswith("test/neg")})
    with pytest.raises(UserError, match="test/neg missing"):
        load()


def test_short_file_of_films_is_one_sentence(load, write):
    write(plain(), {"train/urls_pos.txt": ["film"] * 7, "train/urls_neg.txt": ["film"] * 20})
    with pytest.raises(UserError, match=r"urls_pos.txt has 7 lines, but review 19"):
        load()


def test_too_few_films_to_split_are_one_sentence(load, write):
    write(plain(), {f"train/urls_{name}.txt": ["film"] * 20 for name in ("pos", "neg")})
    with pytest.raises(UserError, match="the split val would have no reviews"):
        load()


def test_vectors_of_another_size_damaged_and_missing(sample, tmp_path):
    path = tmp_path / "small.txt"
    write_vectors(path, ["wonderful", "awful"], np.ones((2, 7)))
    found = sample.find_vectors(str(path), "", seed=0)
    assert found.matrix.shape == (len(sample.vocabulary), 7)
    assert sample.find_vectors("none", "", seed=0) is None
    assert sample.find_vectors("auto", "", seed=0).found.float().mean() > 0.7
    with pytest.raises(UserError, match="no file of word vectors"):
        sample.find_vectors("absent.txt", "", seed=0)
    path.write_text(path.read_text() + "dull 1 2 x\n")
    with pytest.raises(UserError, match="not a whole file of word vectors"):
        sample.find_vectors(str(path), "", seed=0)


def test_regions_are_the_commonest_pairs_of_the_training_split(load, write):
    write({path: f"not good w{number}" for number, path in enumerate(plain())})
    reviews = load(min_frequency=1)
    words, size = reviews.vocabulary.words, len(reviews.vocabulary)
    pairs = {(words[k // size], words[k % size]) for k in data.region_keys(reviews, 2).tolist()}
    assert pairs == {("<pad>", "not"), ("not", "good")}
    assert len(data.region_keys(reviews, 100)) == 2 + len(reviews.labels["train"])
    assert data.region_keys(reviews, 0) is None


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


def test_figures_of_a_known_prediction(sample):
    labels = sample.labels["test"]
    probabilities = labels * 0.8 + 0.1
    wrong = torch.cat([sample.seen.nonzero()[:2, 0], (~sample.seen).nonzero()[:3, 0]])
    probabilities[wrong] = 1 - probabilities[wrong]
    main, extra = inspection.figures(sample, probabilities)
    assert main["test_accuracy"] == pytest.approx(315 / 320)
    unseen = 320 - int(sample.seen.sum())
    assert main["unseen_accuracy"] == pytest.approx((unseen - 3) / unseen)
    # sure to 0.9, right in 315 of 320
    assert main["calibration_error"] == pytest.approx(abs(0.9 - 315 / 320), abs=1e-6)
    assert np.trace(extra["confusion"]) == 315
    assert sum(count for *_, count in extra["by_length"]) == 320
    assert len(inspection.confident_mistakes(sample, probabilities)) == 5
    # a class that never occurs is no error
    only = labels.bool()
    one = inspection.calibration(labels[only], probabilities[only])
    assert all(share == 1 for _, share, _ in one)


@pytest.mark.real
def test_real_reviews(real_data):
    if not (real_data / "aclImdb" / "train" / "pos").is_dir():
        pytest.skip("the Large Movie Review Dataset is absent")
    reviews = data.load("real", str(real_data))
    assert sum(len(reviews.labels[split]) for split in ("train", "val")) == 25_000
    assert reviews.labels["test"].sum() == 12_500
    assert reviews.films == 3456
    assert 100 < reviews.seen.sum() < 300
    assert "br" not in reviews.vocabulary.words[:2000]
