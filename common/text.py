"""Raw text to numbers: clean, split into tokens, count a vocabulary, encode.

Everything that is fitted (the vocabulary, the subword model) sees the training rows alone. The
tokens of a whole set are one flat int32 array with int64 offsets (`common.ragged`), not Python
lists: 50,000 film reviews take 55 MB instead of 2 GB.
"""

import html
import re
import string
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from common.environment import check_torchtext
from common.errors import SettingError, UserError
from common.ragged import Ragged

import numpy as np
import torch
from torch import Tensor

check_torchtext()

TokenizerName = Literal["basic_english", "words", "wordpunct", "subword"]
PAD, UNK = 0, 1
SPECIALS = ("<pad>", "<unk>")
SUBWORD_SIZE = 8000  # pieces, where the user sets no size of the vocabulary

# AG News lost the "&" of its entities to a blank: "the world #39;s", "said quot;no quot;".
_BROKEN_ENTITY = re.compile(
    r" ?(?<![&\w])(#\d{2,5}|#x[\da-f]{2,4}|quot|amp|lt|gt|nbsp|hellip"
    r"|[mn]dash|[lr][sd]quo|[aeiou]acute);"
)
_TAG = re.compile(r"</?[A-Za-z!][^<>]*>")
# The tokenisers and GloVe know the typewriter's characters only.
_TYPEWRITER = {
    "\\": " ",
    "\xa0": " ",
    "\x00": " ",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "–": " - ",
    "—": " - ",
    "…": " ... ",
}
# What Windows-1252 has at 0x80 to 0x9F was often saved as if it were Latin-1: control characters.
_WINDOWS = {chr(code): bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)}
_TYPOGRAPHY = str.maketrans(
    {wrong: _TYPEWRITER.get(sign, sign) for wrong, sign in _WINDOWS.items()} | _TYPEWRITER
)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def read_utf8(path: Path) -> str:
    """The text of a file, a byte-order mark removed.

    Raises UserError where the file is missing or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8 and try again"
        ) from error


def clean(text: str) -> str:
    """Undo the web: entities (whole or broken) decoded, tags dropped, line breaks made blanks."""
    if ";" in text:
        text = html.unescape(_BROKEN_ENTITY.sub(r"&\1;", text))
    if "<" in text:
        text = _TAG.sub(" ", text)
    return " ".join(text.translate(_TYPOGRAPHY).split())


def train_subword(texts: Sequence[str], size: int = SUBWORD_SIZE) -> str:
    """Byte-pair merges (Sennrich et al. 2016) learnt on `texts`, as the library's JSON.

    Raises UserError where the optional library `tokenizers` is absent.
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError as error:
        raise UserError(
            "--tokenizer subword needs the library tokenizers: pip install tokenizers"
        ) from error
    model = Tokenizer(models.BPE(unk_token=SPECIALS[UNK], continuing_subword_prefix="##"))
    model.normalizer = normalizers.Lowercase()
    model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        continuing_subword_prefix="##",
        show_progress=False,
    )
    model.train_from_iterator(map(clean, texts), trainer)
    return model.to_str()


def make_tokenizer(name: TokenizerName, subword: str = "") -> Callable[[str], list[str]]:
    """The function from raw text to its tokens; it cleans the text first.

    basic_english: torchtext's, lower case, punctuation split off. words: lower case, punctuation
    deleted, split on blanks. wordpunct: lower case, runs of letters and digits and single other
    characters ("third-quarter" is three tokens, "$10" two). subword: the byte-pair model in
    `subword` (of `train_subword`).
    """
    if name == "basic_english":
        from torchtext.data.utils import get_tokenizer

        split = get_tokenizer("basic_english")
        return lambda text: split(clean(text))
    if name == "words":
        return lambda text: clean(text).lower().translate(_NO_PUNCTUATION).split()
    if name == "wordpunct":
        find = re.compile(r"\w+|[^\w\s]").findall
        return lambda text: find(clean(text).lower())
    if name == "subword":
        if not subword:
            raise SettingError("a subword tokeniser needs its trained model")
        from tokenizers import Tokenizer

        model = Tokenizer.from_str(subword)

        @cache  # words come again and again: five times as fast as whole texts
        def pieces(word: str) -> list[str]:
            return model.encode(word).tokens

        return lambda text: [p for word in clean(text).split() for p in pieces(word)]
    raise SettingError(f"--tokenizer {name} is not known: choose one of {get_args(TokenizerName)}")


class Vocabulary:
    """The words of the training texts, most frequent first, after <pad> = 0 and <unk> = 1."""

    def __init__(self, words: Sequence[str], tokenizer: TokenizerName, subword: str = ""):
        self.words = [*SPECIALS, *words]
        self.tokenizer = tokenizer
        self.subword = subword
        # A text that says "<pad>" is not padding: the special names are no one's word.
        self._index = {word: number for number, word in enumerate(words, start=len(SPECIALS))}

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def split(self) -> Callable[[str], list[str]]:
        """The function from a raw text to its tokens, unknown ones included."""
        return make_tokenizer(self.tokenizer, self.subword)

    def unknown(self, text: str) -> list[str]:
        """The tokens of a raw text that the vocabulary lacks, in their order, each once."""
        return list(dict.fromkeys(t for t in self.split(text) if t not in self._index))

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Token numbers of raw texts; a text without any token becomes one <unk>."""
        return Ragged.of([[self._index.get(t, UNK) for t in self.split(x)] or [UNK] for x in texts])

    def state(self) -> dict:
        """What a checkpoint needs to encode new text the same way."""
        words = self.words[len(SPECIALS) :]
        return {"words": words, "tokenizer": self.tokenizer, "subword": self.subword}

    @classmethod
    def from_state(cls, state: Mapping) -> "Vocabulary":
        """The vocabulary that `state` came from."""
        return cls(**state)


def prepare(
    texts: Sequence[str],
    train: Sequence[int] | np.ndarray,
    *,
    tokenizer: TokenizerName = "basic_english",
    min_frequency: int = 1,
    max_size: int = 0,
) -> tuple[Vocabulary, Ragged]:
    """Tokenise every text once; count the vocabulary on the rows `train` alone.

    min_frequency: rarer words of the training rows become <unk>. max_size: at most that many
    entries, <pad> and <unk> included; 0 sets no limit. Returns the vocabulary and the token
    numbers of all texts, in their order; a text without any token becomes one <unk>.
    """
    subword = ""
    if tokenizer == "subword":
        subword = train_subword([texts[row] for row in train], max_size or SUBWORD_SIZE)
    split = make_tokenizer(tokenizer, subword)
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__  # a new word takes the next number
    for special in SPECIALS:
        number[special]
    flat, lengths = array("i"), np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        tokens = split(text) or [SPECIALS[UNK]]
        lengths[row] = len(tokens)
        flat.extend(map(number.__getitem__, tokens))
    first_seen = np.frombuffer(flat, np.int32) if flat else np.empty(0, np.int32)

    in_train = np.zeros(len(texts), bool)
    in_train[np.asarray(train, dtype=np.int64)] = True
    counts = np.bincount(first_seen[np.repeat(in_train, lengths)], minlength=len(number))
    words = _most_frequent(list(number), counts, min_frequency, max_size)
    final = np.full(len(number), UNK, np.int32)
    final[[number[word] for word in words]] = np.arange(len(words)) + len(SPECIALS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ragged = Ragged(torch.from_numpy(final[first_seen]), torch.from_numpy(offsets))
    return Vocabulary(words, tokenizer, subword), ragged


def _most_frequent(
    words: list[str], counts: np.ndarray, min_frequency: int, max_size: int
) -> list[str]:
    """The kept words, by frequency and then by the alphabet, the special ones left out."""
    kept = [row for row in range(len(SPECIALS), len(words)) if counts[row] >= max(1, min_frequency)]
    kept.sort(key=lambda row: (-counts[row], words[row]))
    if max_size:
        kept = kept[: max(0, max_size - len(SPECIALS))]
    return [words[row] for row in kept]


def drop_words(ids: Tensor, share: float) -> Tensor:
    """Word dropout (Bowman et al. 2016, section 3.1): a share of the tokens becomes <unk>.

    ids: (batch, tokens). The tokens are drawn anew at each call; padding stays padding.
    """
    if not share:
        return ids
    dropped = torch.rand(ids.shape, device=ids.device) < share
    return ids.masked_fill(dropped & (ids != PAD), UNK)


def read_lines(stream: BinaryIO) -> Iterator[str]:
    """The lines of a stream, standard input say, without blanks around them; empty ones left out.

    Raises:
        UserError: a line is not UTF-8.
    """
    for number, line in enumerate(stream, start=1):
        try:
            decoded = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise UserError(f"line {number} of the input is not UTF-8: save it as UTF-8") from error
        if decoded:
            yield decoded
