"""common/text.py: cleaning, tokenisers, the vocabulary of the training rows."""

from common.errors import UserError
from common.text import (
    UNK,
    Vocabulary,
    clean,
    drop_words,
    make_tokenizer,
    prepare,
    read_utf8,
    train_subword,
)

import pytest
import torch


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
    ],
)
def test_clean(raw, cleaned):
    assert clean(raw) == cleaned


def test_basic_english_is_torchtexts():
    from torchtext.data.utils import get_tokenizer

    text = "Can't wait: (a) 'good', \"plain\" test; isn't it? Yes!"
    assert make_tokenizer("basic_english")(text) == get_tokenizer("basic_english")(text)


def test_words_deletes_punctuation():
    tokens = make_tokenizer("words")("Short-sellers, Wall St.'s <b>BAND</b> -- of 2!")
    assert tokens == ["shortsellers", "wall", "sts", "band", "of", "2"]


def test_wordpunct_splits_at_every_sign():
    tokens = make_tokenizer("wordpunct")("Third-quarter: $10.5 at AT&T")
    assert tokens == ["third", "-", "quarter", ":", "$", "10", ".", "5", "at", "at", "&", "t"]


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
    # a tokeniser that keeps the brackets must not reach the padding either
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
    again = Vocabulary.from_state(vocabulary.state())
    assert again.encode(texts).tokens.tolist() == tokens.tokens.tolist()
    assert again.unknown("the zebra, the zebra") == ["zebra", ","]


def test_subword_learns_from_the_training_rows_only():
    pytest.importorskip("tokenizers", reason="the optional library tokenizers is not installed")
    texts = ["low lower lowest low lower"] * 5 + ["zyzzyva zyzzyva"] * 50
    vocabulary, tokens = prepare(texts, range(5), tokenizer="subword", max_size=40)
    assert vocabulary.split("low") == ["low"]
    assert "zyzzyva" not in vocabulary.words
    again = Vocabulary.from_state(vocabulary.state())
    assert again.encode(texts).tokens.tolist() == tokens.tokens.tolist()
    assert len(vocabulary) <= 40


def test_subword_word_by_word_equals_the_library_on_whole_texts():
    tokenizers = pytest.importorskip("tokenizers", reason="the library tokenizers is missing")
    texts = ["The U.S. won 3-2, didn't it?", "snake_case façade 日本 §5 İstanbul x"] * 3
    model = train_subword(texts, 60)
    whole = tokenizers.Tokenizer.from_str(model)
    for text in texts:
        assert make_tokenizer("subword", model)(text) == whole.encode(clean(text)).tokens


def test_word_dropout_spares_the_padding():
    ids = torch.arange(20_000).remainder(5).view(100, 200)  # 0 = padding, 1 = <unk> already
    dropped = drop_words(ids, 0.3)
    assert ((dropped == 0) == (ids == 0)).all()
    changed = dropped != ids
    assert (dropped[changed] == UNK).all()
    assert changed[ids > UNK].float().mean() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(drop_words(ids, 0.0), ids)


def test_wrong_encoding_and_missing_file_are_one_sentence(tmp_path):
    path = tmp_path / "review.txt"
    path.write_bytes("café".encode("latin-1"))
    with pytest.raises(UserError, match=r"review\.txt is not UTF-8"):
        read_utf8(path)
    with pytest.raises(UserError, match=r"there is no file"):
        read_utf8(tmp_path / "absent.txt")
    path.write_bytes(b"\xef\xbb\xbfgood")
    assert read_utf8(path) == "good"
