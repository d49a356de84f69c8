"""common/text.py: cleaning, tokenizers, the vocabulary of the training rows, vectors, batches."""

import gzip
import re
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common import text
from common.batches import Loader
from common.settings import UserError
from common.settings import _warned as warned_before
from common.text import (
    GLOVE_FILE,
    UNK,
    Ragged,
    Vocabulary,
    buckets,
    clean,
    drop_words,
    locate_vectors,
    make_tokenizer,
    pack,
    pad,
    prepare,
    train_subword,
    unpack,
    word_vectors,
)
from common.training import predict


@pytest.fixture(autouse=True)
def first_time():
    """Notes are printed once in a process."""
    warned_before.clear()


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("the world #39;s largest", "the world's largest"),
        ("said quot;no quot; twice", 'said"no" twice'),
        ("past  #36;46\\a barrel", "past $46 a barrel"),
        ("dwindling\\band of\\\\cynics", "dwindling band of cynics"),
        ("&lt;FONT size=&quot;-2&quot;&gt;-The Post&lt;/FONT&gt;", "-The Post"),
        ("good.<br /><br />Bad &amp; ugly", "good. Bad & ugly"),
        ("is  nbsp;exciting   hellip;. and", "is exciting ... . and"),
        ("women&#146;s “work” – now", 'women\'s "work" - now'),
        ("it\x92s \x93fine\x94 \x96 so so\x85 caf\xe9 \x80", 'it\'s "fine" - so so ... café €'),
        (
            "i <3 it, 1 < 2 and AT&T; Stocks Up; #1 team",
            "i <3 it, 1 < 2 and AT&T; Stocks Up; #1 team",
        ),
        (" \n\t ", ""),
        ("\ufeffgood\ufeff film", "good film"),
    ],
)
def test_clean(raw, cleaned):
    assert clean(raw) == cleaned


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("basic_english", "third-quarter at&t ' s , $10 !"),
        ("words", "thirdquarter att s 10"),
        ("wordpunct", "third - quarter at & t ' s , $ 10 !"),
    ],
)
def test_tokenizers(name, tokens):
    assert make_tokenizer(name)("Third-quarter <b>AT&T</b> 's, $10!") == tokens.split()


def test_vocabulary_counts_the_training_rows_only():
    texts = ["b a a", "b c", "secret secret secret"]
    vocabulary, tokens = prepare(texts, [0, 1])
    assert vocabulary.words == ["<pad>", "<unk>", "a", "b", "c"]  # by frequency, then alphabet
    assert tokens.tokens.tolist() == [3, 2, 2, 3, 4, 1, 1, 1]
    assert tokens.offsets.tolist() == [0, 3, 5, 8]


def test_minimum_frequency_and_size():
    texts = ["a a a b b c"]
    assert prepare(texts, [0], min_frequency=2)[0].words[2:] == ["a", "b"]
    assert prepare(texts, [0], max_size=3)[0].words[2:] == ["a"]


def test_special_names_in_a_text_are_unknown_words():
    vocabulary, tokens = prepare(["a <pad> , x", "<unk>"], [0, 1], tokenizer="basic_english")
    assert "<pad>" not in vocabulary.words[2:]
    assert (tokens.tokens != 0).all()
    # a tokenizer that keeps the brackets must not reach the padding either
    bare = Vocabulary(["a"], "basic_english")
    bare.split = str.split
    assert bare.encode(["a <pad>"]).tokens.tolist() == [2, 1]


def test_text_without_tokens_is_one_unknown():
    vocabulary, tokens = prepare(["a b", "", " <br /> "], [0])
    assert tokens.lengths.tolist() == [2, 1, 1]
    assert tokens.tokens.tolist()[2:] == [1, 1]
    assert vocabulary.encode([""]).tokens.tolist() == [1]


def test_encode_equals_prepare_and_survives_a_checkpoint():
    texts = ["The cat sat.", "A dog #39;s life", "the dog"]
    vocabulary, tokens = prepare(texts, [0, 2])
    for again in (
        Vocabulary(**vocabulary.state()),
        unpack(pack(vocabulary, tokens), "basic_english")[0],
    ):
        assert again.encode(texts).tokens.tolist() == tokens.tokens.tolist()
    assert again.unknown("the zebra, the zebra") == ["zebra", ","]


def test_subword_learns_from_the_training_rows_only():
    pytest.importorskip("tokenizers", reason="the optional library tokenizers is not installed")
    texts = ["low lower lowest low lower"] * 5 + ["zyzzyva zyzzyva"] * 50
    vocabulary, tokens = prepare(texts, range(5), tokenizer="subword", max_size=40)
    assert vocabulary.split("low") == ["low"]
    assert "zyzzyva" not in vocabulary.words
    again = Vocabulary(**vocabulary.state())
    assert again.encode(texts).tokens.tolist() == tokens.tokens.tolist()
    assert len(vocabulary) <= 40


def test_subword_word_by_word_equals_the_library_on_whole_texts():
    tokenizers = pytest.importorskip("tokenizers", reason="the library tokenizers is missing")
    texts = ["The U.S. won 3-2, didn't it?", "snake_case façade 日本 §5 İstanbul x"] * 3
    model = train_subword(texts, 60)
    whole = tokenizers.Tokenizer.from_str(model)
    for raw in texts:
        assert make_tokenizer("subword", model)(raw) == whole.encode(clean(raw)).tokens


def test_word_dropout_spares_the_padding():
    ids = torch.arange(20_000).remainder(5).view(100, 200)  # 0 = padding, 1 = <unk> already
    dropped = drop_words(ids, 0.3)
    assert ((dropped == 0) == (ids == 0)).all()
    changed = dropped != ids
    assert (dropped[changed] == UNK).all()
    assert changed[ids > UNK].float().mean() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(drop_words(ids, 0.0), ids)


@pytest.mark.parametrize(
    ("sentence", "warned"),
    [("今天天气很好我们去公园", True), ("映画はとても面白かった", True), ("สวัสดีครับ", True),
     ("Ein schöner Film", False), ("Хороший фильм", False), ("the word 漢 alone", False)],
)  # fmt: skip
def test_texts_without_blanks_between_words_are_said_with_the_remedy(sentence, warned, capsys):
    text.warn_unspaced([sentence] * 9, "words")
    assert ("use --tokenizer subword" in capsys.readouterr().err) == warned
    text.warn_unspaced([sentence] * 9, "subword")
    assert not capsys.readouterr().err


# Rows of unequal length

rows_of_tokens = st.lists(st.lists(st.integers(1, 99), max_size=12), min_size=1, max_size=20)


def as_lists(ragged):
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
    ids, lengths = pad(Ragged.of([[5, 6, 7, 8, 9], [1], [2, 3]]), torch.tensor([2, 1]))
    assert ids.tolist() == [[2, 3], [1, 0]]
    assert ids.dtype == torch.int64
    assert lengths.tolist() == [2, 1]


def test_buckets_drop_nothing_pad_little_and_follow_seed_and_epoch():
    lengths = torch.randint(1, 200, (2003,), generator=torch.Generator().manual_seed(0))
    plan = buckets(lengths, 16, seed=3)
    first = torch.cat(plan(0))
    assert sorted(first.tolist()) == list(range(2003))
    assert sorted({len(batch) for batch in plan(0)}) == [2003 % 16, 16]
    assert torch.equal(first, torch.cat(buckets(lengths, 16, seed=3)(0)))
    assert not torch.equal(first, torch.cat(plan(1)))
    assert not torch.equal(first, torch.cat(buckets(lengths, 16, seed=4)(0)))
    longest = [int(lengths[batch].max()) for batch in plan(0)]
    assert longest != sorted(longest)
    held = sum(len(batch) * int(lengths[batch].max()) for batch in plan(0))
    assert int(lengths.sum()) / held > 0.95  # a plain shuffle: about half


def test_predictions_come_back_in_the_order_of_the_rows():
    ragged = Ragged.of([[i] * n for i, n in enumerate([4, 1, 3, 9, 2], start=1)])
    plan = buckets(ragged.lengths, 2, shuffle=False)
    loader = Loader(plan, lambda rows: pad(ragged, rows)[0][:, 0])
    first = predict(torch.nn.Linear(1, 1), loader, lambda model, ids: ids, "float32")
    assert first.tolist() == [1, 2, 3, 4, 5]


# Word vectors

WORDS = ["<pad>", "<unk>", "film", "zyzzyva", "café"]
LINES = ["the 0 0.125 0.25 0.375", "film 0.5 0.625 0.75 0.875", "café 1 1.125 1.25 1.375"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text("\n".join([*LINES, "cinema 1.5 1.625 1.75 1.875"]) + "\n", encoding="utf-8")
    return path


def test_each_word_gets_its_own_vector(file, tmp_path):
    for _ in range(2):  # parsed, then from the cache
        vectors = word_vectors(file, WORDS, tmp_path / "cache", seed=1)
        assert vectors.matrix[2].tolist() == [0.5, 0.625, 0.75, 0.875]
        assert vectors.matrix[4].tolist() == [1.0, 1.125, 1.25, 1.375]
        assert vectors.known.tolist() == [False, False, True, False, True]
    assert not vectors.matrix[0].any()  # padding
    assert vectors.matrix[3].any()  # a word without a vector has a random one ...
    again = word_vectors(file, WORDS, tmp_path / "cache", seed=1)
    other = word_vectors(file, WORDS, tmp_path / "cache", seed=2)
    assert torch.equal(again.matrix, vectors.matrix)  # ... that the seed fixes
    assert not torch.equal(other.matrix[3], vectors.matrix[3])
    assert torch.equal(other.matrix[2], vectors.matrix[2])


def test_changed_file_is_read_again(file, tmp_path):
    word_vectors(file, WORDS, tmp_path / "cache")
    file.write_text("film 9 9 9 9\n", encoding="utf-8")
    assert word_vectors(file, WORDS, tmp_path / "cache").matrix[2].tolist() == [9.0] * 4


def test_vectors_equal_torchtexts(file, tmp_path):
    from torchtext.vocab import Vectors

    theirs = Vectors(str(file), cache=str(tmp_path))
    ours = word_vectors(file, WORDS, tmp_path)
    assert torch.equal(ours.matrix[2], theirs["film"])


FORMS = {
    "word2vec's header": "\n".join(["3 4", *LINES]),
    "tabs": "\n".join(LINES).replace(" ", "\t"),
    "Windows line ends": "\r\n".join(LINES),
    "blanks at the ends": " \n".join(LINES) + " \n",
    "a token that holds blanks": "\n".join([*LINES, ". . . 9 9 9 9", "at name@domain.com 9 9 9 9"]),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_forms_of_the_file(content, tmp_path, capsys):
    path = tmp_path / "other.txt"
    path.write_bytes(content.encode())
    vectors = word_vectors(path, [*WORDS, "at name@domain.com"], tmp_path)
    assert vectors.known.tolist()[:5] == [False, False, True, False, True]
    assert vectors.known[5] == ("domain" in content)
    assert vectors.matrix[2].tolist() == [0.5, 0.625, 0.75, 0.875]
    assert not capsys.readouterr().err


def test_odd_lines_are_counted_and_cost_no_other_word_its_vector(tmp_path, capsys):
    path = tmp_path / "odd.txt"
    odd = ["short 1 2", "no number x 1 1", "not nan 1 1 1", "café 1 1 1 1"]
    content = "\n".join([*LINES[:2], *odd[:3], *LINES[1:] * 2])
    path.write_bytes(content.encode() + b"\ncaf\xe9 1 1 1 1\n")
    vectors = word_vectors(path, WORDS, tmp_path)
    assert vectors.matrix[2].tolist() == [0.5, 0.625, 0.75, 0.875]
    assert vectors.matrix[4].tolist() == [1.0, 1.125, 1.25, 1.375]
    assert "3 of 10 lines are not a word and 4 numbers" in capsys.readouterr().err


def pack_zip(path, *names):
    """A zip archive; each file has as its number the place of its name."""
    with zipfile.ZipFile(path, "w") as archive:
        for place, name in enumerate(names):
            archive.writestr(name, f"film {place} 1\n" * 50)
    return path


def test_packed_vectors_are_opened_the_100_numbers_of_several(tmp_path, capsys):
    alone = pack_zip(tmp_path / "alone.zip", "inner.vec", "__MACOSX/._inner.vec")
    assert word_vectors(alone, WORDS, tmp_path).matrix[2].tolist() == [0, 1]
    (tmp_path / "small.gz").write_bytes(gzip.compress(b"film 2 1\n"))
    assert word_vectors(tmp_path / "small.gz", WORDS, tmp_path).matrix[2].tolist() == [2, 1]
    assert not capsys.readouterr().err
    sizes = [f"glove.6B.{size}d.txt" for size in (50, 100, 200, 300)]
    several = pack_zip(tmp_path / "glove.6B.zip", *sizes)
    assert word_vectors(several, WORDS, tmp_path).matrix[2].tolist() == [1, 1]
    note = (
        r"holds 4 files .*, of which glove\.6B\.100d\.txt is read; for another, unpack it and give "
    )
    assert re.search(note + "--vectors the path of", capsys.readouterr().err)


def test_archive_that_does_not_say_which_file_or_is_damaged_is_one_sentence(tmp_path):
    path = pack_zip(tmp_path / "packed.zip", "de.vec", "en.vec")
    with pytest.raises(
        UserError, match=r"2 files \(de.vec, en.vec\): unpack it and give --vectors"
    ):
        word_vectors(path, WORDS, tmp_path)
    whole = pack_zip(path, "en.vec").read_bytes()
    for data in (whole[:200], whole.replace(b"film 0", b"film 9", 1)):
        path.write_bytes(data)
        with pytest.raises(UserError, match="is damaged"):
            word_vectors(path, WORDS, tmp_path)


@pytest.mark.parametrize("content", ["\n", "film 1 2 3\nthe 1 2\n", "film 1 2 x\n", "film\n"])
def test_damaged_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "broken.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.txt is not a whole file of word vectors"):
        word_vectors(path, WORDS, tmp_path)


def test_vectors_between_commas_are_named_with_the_remedy(tmp_path):
    (tmp_path / "vectors.csv").write_text("film,0.1,0.2\nthe,1,2\n")
    with pytest.raises(UserError, match="write blanks for the commas"):
        word_vectors(tmp_path / "vectors.csv", WORDS, tmp_path)


@pytest.mark.parametrize("name", ["GoogleNews.bin", "broken.txt"])
def test_binary_file_is_named_with_the_remedy(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"3000000 300\n" + bytes(range(256)) * 50)
    with pytest.raises(UserError, match=r"is binary, like word2vec.*load_word2vec_format"):
        word_vectors(path, WORDS, tmp_path)


def test_locate(file, tmp_path, capsys):
    assert locate_vectors("none") is None
    assert locate_vectors(file) == file
    with pytest.raises(UserError, match="no file of word vectors"):
        locate_vectors(tmp_path / "absent.txt")
    folder = tmp_path / "root" / "glove.6B"
    folder.mkdir(parents=True)
    file.rename(folder / GLOVE_FILE)
    assert locate_vectors("auto", tmp_path / "root") == folder / GLOVE_FILE
    assert not capsys.readouterr().err


def test_without_vectors_the_embeddings_are_learned_and_it_says_so(tmp_path, capsys, monkeypatch):
    nowhere = text.RemoteFile("glove.6B.zip", ("http://127.0.0.1:9/glove.6B.zip",), unpack=True)
    gone = text.DataSet("GloVe 6B", "glove.6B", (GLOVE_FILE,), (nowhere,), "by hand")
    monkeypatch.setattr(text, "GLOVE", gone)
    assert locate_vectors("auto", tmp_path) is None
    before, after = capsys.readouterr().err.split("learned from scratch")
    assert "862 MB is downloaded now" in before  # who pays for the line can stop it
    assert "--vectors none" in before
    assert "127.0.0.1" in after
    with pytest.raises(UserError, match="GloVe 6B"):
        locate_vectors("glove", tmp_path)


@pytest.mark.real
def test_real_glove(real_data, tmp_path):
    path = real_data / "glove.6B" / GLOVE_FILE
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    vectors = word_vectors(path, ["<pad>", "<unk>", "the"], tmp_path)
    assert vectors.matrix.shape == (3, 100)
    assert vectors.matrix[2, :2].tolist() == pytest.approx([-0.038194, -0.24487])
