"""Text to numbers: cleaning, tokens, vocabulary, word vectors, and batches by length.

Everything that is fitted (the vocabulary, the subword model) sees the training rows alone. The
tokens of a whole set are one flat int32 array with offsets, not Python lists: 50,000 film reviews
take 55 MB instead of 2 GB. Word vectors are read by a few lines of our own: torchtext's reader
stops at the first odd line and cannot read a token that holds a blank.
"""

import html
import io
import re
import string
import zipfile
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from common.batches import Loader, Plan, generator
from common.checkpoints import Arrays, cached, content_digest
from common.downloads import DataSet, RemoteFile, Source, data_root, obtain
from common.settings import SettingError, UserError, warn
from common.tables import decode, decode_line, read_bytes, title

TokenizerName = Literal["basic_english", "words", "wordpunct", "subword"]
Keep = Literal["first", "last", "both"]
Vectors = Literal["auto", "glove", "none"] | Path
SPLITS = ("train", "val", "test")
SPLIT_SEED = 0  # one split for all runs, whatever their seed
PAD, UNK = 0, 1
SPECIALS = ("<pad>", "<unk>")
SUBWORD_SIZE = 8000  # pieces, where the user sets no size of the vocabulary
POOL = 50  # batches sorted by length together: more pads less, and shuffles less

# Cleaning

# AG News lost the "&" of its entities to a blank: "the world #39;s", "said quot;no quot;".
BROKEN_ENTITY = re.compile(
    r" ?(?<![&\w])(#\d{2,5}|#x[\da-f]{2,4}|quot|amp|lt|gt|nbsp|hellip"
    r"|[mn]dash|[lr][sd]quo|[aeiou]acute);"
)
TAG = re.compile(r"</?[A-Za-z!][^<>]*>")
# The tokenizers and GloVe know the typewriter's characters only.
TYPEWRITER = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": " - ", "—": " - ", "…": " ... "}
TYPEWRITER |= dict.fromkeys("\\\xa0\x00\ufeff", " ")  # backslash, no-break, NUL, byte-order mark
# What Windows-1252 has at 0x80 to 0x9F was often saved as if it were Latin-1: control characters.
WINDOWS = {chr(code): bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)}
TYPOGRAPHY = str.maketrans(
    {wrong: TYPEWRITER.get(sign, sign) for wrong, sign in WINDOWS.items()} | TYPEWRITER
)
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Thai to Khmer, Japanese and Chinese: scripts that write words without blanks between them.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def clean(text: str) -> str:
    """Undo the web: entities (whole or broken) decoded, tags dropped, line breaks made blanks."""
    if ";" in text:
        text = html.unescape(BROKEN_ENTITY.sub(r"&\1;", text))
    if "<" in text:
        text = TAG.sub(" ", text)
    return " ".join(text.translate(TYPOGRAPHY).split())


# Tokens and vocabulary


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
        return lambda text: clean(text).lower().translate(NO_PUNCTUATION).split()
    if name == "wordpunct":
        find = re.compile(r"\w+|[^\w\s]").findall
        return lambda text: find(clean(text).lower())
    if name == "subword":
        from tokenizers import Tokenizer

        model = Tokenizer.from_str(subword)

        @cache  # words come again and again: five times as fast as whole texts
        def pieces(word: str) -> list[str]:
            return model.encode(word).tokens

        return lambda text: [p for word in clean(text).split() for p in pieces(word)]
    raise SettingError(f"--tokenizer {name} is not known: choose one of {get_args(TokenizerName)}")


def train_subword(texts: Sequence[str], size: int = SUBWORD_SIZE) -> str:
    """Byte-pair merges (Sennrich et al. 2016, section 3.2) learned from `texts`, as JSON.

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


class Vocabulary:
    """The words of the training texts, most frequent first, after <pad> = 0 and <unk> = 1."""

    def __init__(self, words: Sequence[str], tokenizer: TokenizerName, subword: str = ""):
        self.words = [*SPECIALS, *words]
        self.tokenizer = tokenizer
        self.subword = subword
        # A text that says "<pad>" is not padding: no word of a text has a special name.
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

    def encode(self, texts: Sequence[str]) -> "Ragged":
        """Token numbers of raw texts; a text without any token becomes one <unk>."""
        return Ragged.of([[self._index.get(t, UNK) for t in self.split(x)] or [UNK] for x in texts])

    def state(self) -> dict[str, Any]:
        """What model.pt needs to encode new text the same way: `Vocabulary(**state)`."""
        words = self.words[len(SPECIALS) :]
        return {"words": words, "tokenizer": self.tokenizer, "subword": self.subword}


def prepare(
    texts: Sequence[str],
    train: Sequence[int] | np.ndarray | Tensor,
    *,
    tokenizer: TokenizerName = "basic_english",
    min_frequency: int = 1,
    max_size: int = 0,
) -> tuple[Vocabulary, "Ragged"]:
    """Tokenize every text once; count the vocabulary on the rows `train` alone.

    min_frequency: rarer words of the training rows become <unk>. max_size: at most that many
    entries, <pad> and <unk> included; 0 sets no limit. Returns the vocabulary and the token
    numbers of all texts, in their order; a text without any token becomes one <unk>.
    """
    subword = ""
    if tokenizer == "subword":
        subword = train_subword([texts[row] for row in train], max_size or SUBWORD_SIZE)
    split = make_tokenizer(tokenizer, subword)
    # First each word has the number of its first appearance, then that of its frequency.
    first = defaultdict(lambda: len(first), {word: n for n, word in enumerate(SPECIALS)})
    flat, offsets = array("i"), [0]
    for text in texts:
        flat.extend(map(first.__getitem__, split(text) or [SPECIALS[UNK]]))
        offsets.append(len(flat))
    numbers = np.array(flat, np.int32)

    in_train = np.zeros(len(texts), bool)
    in_train[np.asarray(train, dtype=np.int64)] = True
    counts = np.bincount(numbers[np.repeat(in_train, np.diff(offsets))], minlength=len(first))
    counts[: len(SPECIALS)] = 0
    words = list(first)
    kept = np.flatnonzero(counts >= max(1, min_frequency)).tolist()
    kept.sort(key=lambda row: (-counts[row], words[row]))  # by frequency, then by alphabet
    if max_size:
        kept = kept[: max_size - len(SPECIALS)]
    final = np.full(len(first), UNK, np.int32)
    final[kept] = np.arange(len(kept)) + len(SPECIALS)
    tokens = Ragged(torch.from_numpy(final[numbers]), torch.tensor(offsets))
    return Vocabulary([words[row] for row in kept], tokenizer, subword), tokens


def pack(vocabulary: Vocabulary, tokens: "Ragged") -> Arrays:
    """What `prepare` made, in the form that `checkpoints.cached` keeps."""
    return {
        "words": vocabulary.state()["words"],
        "subword": [vocabulary.subword],
        "tokens": tokens.tokens.numpy(),
        "offsets": tokens.offsets.numpy(),
    }


def unpack(kept: Arrays, tokenizer: TokenizerName) -> tuple[Vocabulary, "Ragged"]:
    """The vocabulary and the tokens of all texts that `pack` was given."""
    vocabulary = Vocabulary(kept["words"], tokenizer, kept["subword"][0])
    return vocabulary, Ragged(torch.from_numpy(kept["tokens"]), torch.from_numpy(kept["offsets"]))


def warn_unspaced(texts: Sequence[str], tokenizer: TokenizerName) -> None:
    """Say so where the tokenizer would take whole sentences for words, as in Chinese."""
    sample = "".join(texts[:: max(1, len(texts) // 500)])[:100_000]
    if tokenizer != "subword" and 3 * len(UNSPACED.findall(sample)) > sum(map(str.isalpha, sample)):
        warn(
            "the texts are in a script without blanks between words (Chinese, Japanese, Thai, "
            f"...), which --tokenizer {tokenizer} does not split: use --tokenizer subword"
        )


def drop_words(ids: Tensor, fraction: float) -> Tensor:
    """Word dropout (Bowman et al. 2016, section 3.1): a fraction of the tokens becomes <unk>.

    ids: (batch, tokens). Other tokens are drawn at each call; padding stays padding.
    """
    if not fraction:
        return ids
    dropped = torch.rand(ids.shape, device=ids.device) < fraction
    return ids.masked_fill(dropped & (ids != PAD), UNK)


# Rows of unequal length, and their batches


@dataclass(frozen=True)
class Ragged:
    """Row r is `tokens[offsets[r] : offsets[r + 1]]`.

    tokens: int32 (all tokens,). offsets: int64 (rows + 1,), from 0 and never falling.
    """

    tokens: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Rows given as Python lists."""
        flat = torch.tensor([token for row in rows for token in row], dtype=torch.int32)
        lengths = torch.tensor([0, *map(len, rows)], dtype=torch.int64)
        return cls(flat, lengths.cumsum(0))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens in each row, int64 (rows,)."""
        return self.offsets.diff()

    def to(self, device: torch.device | str) -> "Ragged":
        """The same rows on another device."""
        return Ragged(self.tokens.to(device), self.offsets.to(device))

    def rows(self, indices: Sequence[int] | np.ndarray | Tensor) -> "Ragged":
        """The chosen rows, in the order given."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        return self._gather(self.offsets[indices], self.lengths[indices])

    def truncated(self, max_len: int, keep: Keep = "first") -> "Ragged":
        """At most `max_len` tokens a row: its first, its last, or the first and last halves."""
        lengths = self.lengths.clamp(max=max_len)
        tail = {"first": lengths * 0, "last": lengths, "both": lengths // 2}[keep]
        starts = torch.stack([self.offsets[:-1], self.offsets[1:] - tail], 1)
        halves = self._gather(starts.flatten(), torch.stack([lengths - tail, tail], 1).flatten())
        return Ragged(halves.tokens, halves.offsets[::2])

    def _gather(self, starts: Tensor, lengths: Tensor) -> "Ragged":
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        # the place of a token = the start of its row + how far into the row it stands
        shift = torch.repeat_interleave(starts - offsets[:-1], lengths)
        return Ragged(self.tokens[torch.arange(len(shift), device=shift.device) + shift], offsets)


def pad(ragged: Ragged, rows: Tensor) -> tuple[Tensor, Tensor]:
    """A batch cut to its longest row.

    Returns the ids, int64 (batch, tokens), padded with 0, and the lengths, int64 (batch,).
    """
    rows = rows.to(ragged.offsets.device)
    starts = ragged.offsets[rows]
    lengths = ragged.offsets[rows + 1] - starts
    steps = torch.arange(int(lengths.max()), device=rows.device)
    places = (starts[:, None] + steps).clamp_(max=len(ragged.tokens) - 1)  # (batch, tokens)
    ids = ragged.tokens[places].long().masked_fill_(steps >= lengths[:, None], PAD)
    return ids, lengths


def pair_keys(tokens: Ragged, words: int, count: int) -> Tensor | None:
    """The `count` commonest pairs of a word and the one before it, as previous * words + word.

    A text's first word comes after 0, the padding. int64 (count,), sorted; None for a count of 0.
    """
    if not count:
        return None
    ids = tokens.tokens.long()
    previous = ids.roll(1)
    previous[tokens.offsets[:-1]] = 0
    keys, counts = (previous * words + ids).unique(return_counts=True)
    return keys[counts.argsort(descending=True, stable=True)[:count]].sort().values


def buckets(lengths: Tensor, batch_size: int, seed: int = 0, shuffle: bool = True) -> Plan:
    """Batches of rows of nearly one length, as `plan(epoch)` for `common.batches.Loader`.

    Shuffled: rows are drawn in an order fixed by seed and epoch, sorted within pools of 50
    batches, and the batches shuffled; every row comes once an epoch and only one batch is short.
    Not shuffled: plain batches by length, alike in every epoch.
    """
    lengths = lengths.cpu()

    def plan(epoch: int) -> list[Tensor]:
        if not shuffle:
            return list(torch.argsort(lengths, stable=True).split(batch_size))
        random = generator(seed, epoch)
        order = torch.randperm(len(lengths), generator=random)
        batches = []
        for pool in order.split(batch_size * POOL):
            batches += pool[torch.argsort(lengths[pool], stable=True)].split(batch_size)
        return [batches[i] for i in torch.randperm(len(batches), generator=random).tolist()]

    return plan


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Labelled texts as token numbers. Each mapping goes by split: train, val, test."""

    source: Source
    vocabulary: Vocabulary
    tokens: dict[str, Ragged]  # of each text as many as a run reads
    labels: dict[str, Tensor]  # (texts,)
    cache: Path  # folder for what is made once

    def counts(self) -> dict[str, int]:
        """Texts in each split."""
        return {split: len(labels) for split, labels in self.labels.items()}

    def loader(self, split: str, batch_size: int, seed: int, device: torch.device) -> Loader:
        """Batches (ids, lengths, labels) by length, made on the device; shuffled for training."""
        tokens, labels = self.tokens[split].to(device), self.labels[split].to(device)
        plan = buckets(self.tokens[split].lengths, batch_size, seed, shuffle=split == "train")
        return Loader(plan, lambda rows: (*pad(tokens, rows), labels[rows.to(device)]))

    def example(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The first test text as a batch (ids, lengths) of one."""
        return pad(self.tokens["test"].to(device), torch.tensor([0]))

    def find_vectors(
        self, choice: Vectors, data_dir: Path | None, seed: int
    ) -> "WordVectors | None":
        """Pretrained vectors of the vocabulary (see `locate_vectors`), or None.

        The sample brings a small file of its own.
        """
        if self.source.kind == "sample" and choice in ("auto", "glove"):
            choice = self.source.folder / GLOVE_FILE
        path = locate_vectors(choice, data_dir)
        return word_vectors(path, self.vocabulary.words, self.cache, seed) if path else None

    def describe(self, vectors: "WordVectors | None", batch_size: int) -> str:
        """What a reader should know of the tokens and the vectors, in three lines."""
        train, lengths = self.tokens["train"], self.tokens["train"].lengths
        batches = buckets(lengths, batch_size)(0)
        held = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
        unknown = (self.tokens["test"].tokens == UNK).double().mean()
        known = "none: the embedding is learned from scratch"
        if vectors is not None:
            used = vectors.known[train.tokens.long()].double().mean()
            words = vectors.known[1:].double().mean()  # without padding
            known = (
                f"of {vectors.matrix.shape[1]} numbers for {words:.1%} of the words, "
                f"{used:.1%} of the training tokens"
            )
        return (
            f"tokens    {len(self.vocabulary):,} in the vocabulary of the training split, "
            f"{unknown:.1%} of the test tokens unknown\n"
            f"          {lengths.double().mean():.1f} a text, "
            f"{1 - len(train.tokens) / held:.1%} padding in the batches\n"
            f"vectors   {known}"
        )


# Word vectors

GLOVE_FILE = "glove.6B.100d.txt"
SAMPLE_SIZE = 100  # numbers in a vector of a sample
GLOVE = DataSet(
    name="GloVe 6B",
    folder="glove.6B",
    needs=(GLOVE_FILE,),
    remote=(
        RemoteFile(
            path="glove.6B.zip",
            urls=("https://nlp.stanford.edu/data/glove.6B.zip",),
            sha256="617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
            unpack=True,
        ),
    ),
    help=f"{GLOVE_FILE}, from the 862 MB archive https://nlp.stanford.edu/data/glove.6B.zip",
)


@dataclass(frozen=True)
class WordVectors:
    """matrix: float32 (words, dimensions), row 0 (padding) zero. known: bool (words,)."""

    matrix: Tensor
    known: Tensor


def locate_vectors(choice: Vectors, data_dir: Path | None = None) -> Path | None:
    """The file of vectors that a setting names, or None for embeddings learned from scratch.

    choice: "auto" (GloVe 6B where it is or can be had, else None, said so), "glove" (the same,
    but it must be there), "none", or a file as `read_vectors` takes it. Raises UserError where
    "glove" or the file cannot be had.
    """
    if isinstance(choice, Path):
        if choice.expanduser().is_file():
            return choice.expanduser()
        raise UserError(
            f"there is no file of word vectors {choice}: check the path, or use --vectors none"
        )
    if choice == "none":
        return None
    folder = data_root(data_dir) / GLOVE.folder
    if not any((folder / name).is_file() for name in (GLOVE_FILE, GLOVE.remote[0].path)):
        warn(
            f"{GLOVE.name} is not in {folder}: its archive of 862 MB is downloaded now, once; "
            "--vectors none trains without it"
        )
    try:
        return obtain(GLOVE, "real", data_dir).folder / GLOVE_FILE
    except UserError as error:
        if choice == "glove":
            raise
        warn(f"no pretrained vectors, so the embedding is learned from scratch: {error}")
        return None


def word_vectors(path: Path, words: Sequence[str], cache: Path, seed: int = 0) -> WordVectors:
    """The vectors of `words`; a word without one gets a random one of the same spread, by seed.

    cache: folder that keeps the parsed file. Raises UserError where the file is not one of word
    vectors.
    """
    key = {"file": content_digest([path], path.parent, cache)}
    kept = cached(cache, "vectors", key, lambda: read_vectors(path))
    row_of = {word: row for row, word in enumerate(kept["words"])}
    rows = torch.tensor([row_of.get(word, -1) for word in words])
    rows[PAD] = -1
    known = rows >= 0
    vectors = torch.from_numpy(kept["vectors"])
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(len(words), vectors.shape[1], generator=random) * vectors.std()
    matrix[known] = vectors[rows[known]]
    matrix[PAD] = 0
    return WordVectors(matrix, known)


def read_vectors(path: Path) -> Arrays:
    """The words of a file and their vectors, float32 (words, dimensions).

    Each line has a word, which may hold blanks, and its numbers, between blanks or tabs; word2vec's
    first line, with the counts of words and dimensions, is skipped. Odd lines are counted. Raises
    UserError where most lines are odd, or the file is binary.
    """
    words, numbers, odd, count = [], array("f"), [], 0
    with open_vectors(path) as file:
        head = list(islice(file, 100))
        if path.suffix == ".bin" or any(b"\0" in line for line in head):
            raise UserError(
                f"{path} is binary, like word2vec's .bin: convert it to text first, with gensim's "
                "KeyedVectors.load_word2vec_format(path, binary=True).save_word2vec_format(new)"
            )
        if head and re.fullmatch(rb"\d+\s+\d+\s*", head[0]):
            head.pop(0)
        widths = Counter(len(line.split()) - 1 for line in head)
        size = max(1, max(widths, key=widths.__getitem__, default=1))
        for count, line in enumerate(chain(head, file), start=1):
            word, *row = line.rsplit(None, size) or [b""]
            try:
                values = array("f", map(float, row))
            except ValueError:
                values = array("f")
            if len(values) == size and np.isfinite(values).all():
                words.append(word.decode("utf-8", "replace"))
                numbers.extend(values)
            else:
                odd.append(count)
    fault = f"{len(odd):,} of {count:,} lines are not a word and {size} numbers"
    if len(odd) >= len(words):
        remedy = "take another copy"
        if any(re.search(rb"\d,\d", line) for line in head):
            remedy = "write blanks for the commas between numbers, points for those inside"
        raise UserError(f"{path} is not a whole file of word vectors: {fault}; {remedy}")
    if odd:
        warn(f"{path.name}: {fault} and were left out; the first is number {odd[0]:,}")
    return {"words": words, "vectors": np.array(numbers, np.float32).reshape(-1, size)}


def open_vectors(path: Path) -> IO[bytes]:
    """A file of word vectors, unpacked; of a zip archive of several the one of 100 numbers."""
    if not zipfile.is_zipfile(path):
        is_packed = path.suffix in (".zip", ".gz", ".bz2", ".xz")  # a damaged zip is none
        return io.BytesIO(read_bytes(path)) if is_packed else path.open("rb")
    with zipfile.ZipFile(path) as archive:
        files = [name for name in archive.namelist() if not re.search(r"/$|^__MACOSX", name)]
        chosen = [name for name in files if "100d" in name] if len(files) > 1 else files
        held = f"{path.name} holds {len(files)} files ({', '.join(files[:6])})"
        remedy = "unpack it and give --vectors the path of the file you want"
        if len(chosen) != 1:
            raise UserError(f"{held}: {remedy}")
        if len(files) > 1:
            warn(f"{held}, of which {chosen[0]} is read; for another, {remedy}")
        try:
            return io.BytesIO(archive.read(chosen[0]))
        except (EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged ({error}): get it again") from error


def write_sample_vectors(path: Path, groups: Iterable[str], rng: np.random.Generator) -> None:
    """Write random vectors in GloVe's text format: a word and its numbers on each line.

    groups: words between blanks; those of one group lie near one another, and one word in ten has
    no vector.
    """
    lines = []
    for group in groups:
        centre = rng.normal(0, 0.25, SAMPLE_SIZE)
        for word in group.split():
            if rng.random() > 0.1:
                vector = centre + rng.normal(0, 0.4, SAMPLE_SIZE)
                lines.append(f"{word} " + " ".join(f"{number:.5f}" for number in vector))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def read_text(path: Path, is_table: bool = False) -> str:
    """The text of a file; raises UserError where it cannot be read as text."""
    data = read_bytes(path)
    text, encoding = decode(data, path, is_table)
    remedy = ""
    if encoding == "Windows-1252":  # line by line, so that one of them spoils no other
        text = "\n".join(decode_line(line)[0] for line in data.split(b"\n"))
        remedy = ": if letters look wrong, save it as UTF-8"
    if encoding:
        warn(f"{Path(title(path)).name} is read as {encoding} text{remedy}")
    return text
