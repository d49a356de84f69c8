"""common/vectors.py: word vectors from a file in GloVe's format."""

import ssl

from common import vectors
from common.errors import UserError

import numpy as np
import pytest
import torch

WORDS = ["<pad>", "<unk>", "film", "zyzzyva", "café"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.txt"
    matrix = np.arange(16, dtype=float).reshape(4, 4) / 8
    vectors.write_vectors(path, ["the", "film", "café", "cinema"], matrix)
    return path


def test_each_word_gets_its_own_vector(file, tmp_path):
    for _ in range(2):  # parsed, then from the cache
        found = vectors.for_words(file, WORDS, tmp_path / "cache", seed=1)
        assert found.matrix[2].tolist() == [0.5, 0.625, 0.75, 0.875]
        assert found.matrix[4].tolist() == [1.0, 1.125, 1.25, 1.375]
        assert found.found.tolist() == [False, False, True, False, True]
    assert not found.matrix[0].any()  # padding
    assert found.matrix[3].any()  # a word without a vector has a random one ...
    again = vectors.for_words(file, WORDS, tmp_path / "cache", seed=1)
    other = vectors.for_words(file, WORDS, tmp_path / "cache", seed=2)
    assert torch.equal(again.matrix, found.matrix)  # ... that the seed fixes
    assert not torch.equal(other.matrix[3], found.matrix[3])
    assert torch.equal(other.matrix[2], found.matrix[2])


def test_changed_file_is_read_again(file, tmp_path):
    vectors.for_words(file, WORDS, tmp_path / "cache")
    vectors.write_vectors(file, ["film"], np.full((1, 4), 9.0))
    assert vectors.for_words(file, WORDS, tmp_path / "cache").matrix[2].tolist() == [9.0] * 4


def test_coverage_by_words_and_by_occurrences(file, tmp_path):
    found = vectors.for_words(file, WORDS, tmp_path)
    types, tokens = found.coverage(torch.tensor([100, 1, 6, 2, 1]))
    assert types == pytest.approx(2 / 4)
    assert tokens == pytest.approx(7 / 10)


def test_header_line_of_word2vec_is_skipped(file, tmp_path):
    file.write_text("4 4\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    found = vectors.for_words(file, WORDS, tmp_path)
    assert found.found.tolist() == [False, False, True, False, True]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "film 1 2 3\nthe 1 2\n", "film 1 2 x\n", "film\n", "film 1 2 nan\nthe 1 2 3\n"],
)
def test_damaged_file_is_one_sentence(tmp_path, text):
    path = tmp_path / "broken.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=r"broken\.txt"):
        vectors.for_words(path, WORDS, tmp_path)


def test_binary_file_is_one_sentence(tmp_path):
    path = tmp_path / "broken.txt"
    path.write_bytes(bytes(range(256)) * 50)
    with pytest.raises(UserError, match=r"broken\.txt"):
        vectors.for_words(path, WORDS, tmp_path)


def test_word_of_another_encoding_costs_no_other_word_its_vector(file, tmp_path):
    lines = file.read_bytes().split(b"\n")
    lines[2] = lines[2].replace("café".encode(), "café".encode("latin-1"))
    file.write_bytes(b"\n".join([*lines[:1], lines[2], lines[1], *lines[3:]]))
    found = vectors.for_words(file, [*WORDS, "cinema"], tmp_path)
    assert found.found.tolist() == [False, False, True, False, False, True]
    assert found.matrix[2].tolist() == [0.5, 0.625, 0.75, 0.875]
    assert found.matrix[5].tolist() == [1.5, 1.625, 1.75, 1.875]


def test_reading_leaves_the_check_of_certificates_on(file, tmp_path):
    before = ssl._create_default_https_context
    vectors.for_words(file, WORDS, tmp_path)
    assert ssl._create_default_https_context is before


def test_locate(file, tmp_path, capsys):
    assert vectors.locate("none") is None
    assert vectors.locate(str(file)) == file
    with pytest.raises(UserError, match="no file of word vectors"):
        vectors.locate(str(tmp_path / "absent.txt"))
    folder = tmp_path / "root" / "glove.6B"
    folder.mkdir(parents=True)
    file.rename(folder / vectors.GLOVE_FILE)
    assert vectors.locate("auto", str(tmp_path / "root")) == folder / vectors.GLOVE_FILE
    assert not capsys.readouterr().out


def test_without_vectors_the_embeddings_are_learnt_and_it_says_so(tmp_path, capsys, monkeypatch):
    nowhere = vectors.RemoteFile("glove.6B.zip", ("http://127.0.0.1:9/glove.6B.zip",), unpack=True)
    gone = vectors.DataSet(
        "GloVe 6B", "glove.6B", (vectors.GLOVE_FILE,), (nowhere,), "by hand", lambda folder: None
    )
    monkeypatch.setattr(vectors, "GLOVE", gone)
    assert vectors.locate("auto", str(tmp_path)) is None
    before, after = capsys.readouterr().out.split("learnt from nothing")
    assert "862 MB is downloaded now" in before  # who pays for the line can stop it
    assert "--vectors none" in before
    assert "127.0.0.1" in after
    with pytest.raises(UserError, match="GloVe 6B"):
        vectors.locate("glove", str(tmp_path))


@pytest.mark.real
def test_real_glove(real_data, tmp_path):
    path = real_data / "glove.6B" / vectors.GLOVE_FILE
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    found = vectors.for_words(path, ["<pad>", "<unk>", "the"], tmp_path)
    assert found.matrix.shape == (3, 100)
    assert found.matrix[2, :2].tolist() == pytest.approx([-0.038194, -0.24487])
