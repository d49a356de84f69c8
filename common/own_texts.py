"""The user's own texts: a CSV file with labels to learn from.

What is recognised in a file is read, and a note says what was assumed and which flag changes it.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.settings import UserError, require, warn
from common.tables import SEPARATORS, separator_of, table_text, title
from common.text import SPLIT_SEED, SPLITS, clean, read_text

TEST_FRACTION = 0.1  # of a table that comes without a test table
# Usual names of columns, the surest first.
LABEL_NAMES = (
    "label", "labels", "class index", "class", "category", "sentiment", "topic", "target",
    "polarity", "airline_sentiment", "v1", "stars", "rating",
)  # fmt: skip
TEXT_NAMES = ("text", "review", "title", "description", "body", "content", "message", "tweet", "v2")
NO_LABELS = {"", "nan", "null", "n/a", "#n/a", "<na>", "?"}  # in lower case
NUMBER = re.compile(r"[-+]?[\d.,]+")
# What a column holds that is not text, recognised by nearly all of its values.
NO_TEXT = {
    "numbers or ids": re.compile(r"[!-~]*\d[!-~]*"),
    "dates": re.compile(r"(?=(\S+ ){0,5}\S+$).*(\d[-/.]\d\d?[-/.]\d|\d:\d\d|\b(19|20)\d\d\b).*"),
    "single words": re.compile(r"[!-~]+"),
}


@dataclass(frozen=True)
class Sheet:
    """A CSV file as users have them.

    header: the columns' names; their numbers from 1 where they have none. rows: fields as written,
    one for each column.
    """

    path: Path
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> int:
        """The place of a column, from 0, by its name or its number from 1.

        Raises SettingError where there is no such column.
        """
        lower = [each.lower() for each in self.header]
        if name.lower() in lower:
            return lower.index(name.lower())
        require(
            name.isdecimal() and 1 <= int(name) <= len(lower),
            f"{self.path} has no column {name!r}: its columns are {some(self.header)}; "
            "where there is no header they have the numbers from 1",
        )
        return int(name) - 1

    def guess_label(self) -> int:
        """The column of the labels: of a usual name, or the first where there is no header."""
        lower = [name.lower() for name in self.header]
        for name in LABEL_NAMES:
            if name in lower:
                return lower.index(name)
        require(
            lower[0] == "1" and is_label(values_of(self.rows, 0)),
            f"{self.path} does not say which column is the label: name it with --label-column, "
            f"one of {some(self.header)}",
        )
        return 0

    def guess_texts(self, label: int | None, flag: str) -> list[int]:
        """The columns that hold more than numbers, dates or single words, but for the label."""
        columns = [column for column in range(len(self.header)) if column != label]
        reasons = {column: why_no_text(values_of(self.rows, column)) for column in columns}
        texts = [column for column in columns if not reasons[column]]
        if not texts or len(texts) == len(columns):
            return columns
        odd = some([f"{self.header[c]} ({why})" for c, why in reasons.items() if why])
        warn(f"columns that look like no text are left out: {odd}; {flag} chooses the columns")
        return texts


def some(names: Sequence[str]) -> str:
    """Names for a message: ten at most, and 40 characters of each."""
    shown = [name if len(name) <= 40 else f"{name[:39]}…" for name in names[:10]]
    return ", ".join(shown) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def values_of(rows: Sequence[Sequence[str]], column: int) -> list[str]:
    """What the first 1,000 rows have in a column, empty ones left out."""
    return [value for row in rows[:1000] if (value := row[column].strip())]


def is_label(values: Sequence[str]) -> bool:
    """Whether values of a column are few and short."""
    words = sum(len(value.split()) for value in values)
    return 0 < len(set(values)) <= max(2, len(values) // 2) and words <= 3 * len(values)


def why_no_text(values: Sequence[str]) -> str:
    """Why values of a column are not text, or nothing where they may be."""
    if len(set(values)) <= 1:
        return "one value" if values else "empty"
    for reason, pattern in NO_TEXT.items():
        if sum(bool(pattern.fullmatch(value)) for value in values) >= 0.95 * len(values):
            return reason
    is_repeated = 5 * len(set(values)) <= len(values)
    return "few short values" if is_repeated and is_label(values) else ""


# How quotes are written: as the format says; after a \; not at all, so that they are letters;
# wrongly. With what is said of it.
STRICT = ({"strict": True}, "")
ESCAPED = ({"strict": True, "escapechar": "\\"}, "after a backslash as letters")
LETTERS = ({"quoting": csv.QUOTE_NONE}, "as letters")
LOOSE = ({"strict": False}, "as far as they go")
END = "end of the table"


def read_sheet(path: Path, by_name: bool = False) -> Sheet:
    """Read a CSV file; separator, encoding, quotes and header are recognised, as notes say.

    by_name: the user named a column, so that there is a header. Rows with too few or too many
    fields are left out and counted. Raises UserError where the file is damaged or more than a tenth
    of its rows are odd.
    """
    csv.field_size_limit(2**31 - 1)  # the module's own limit stops at long texts
    name = Path(title(path)).name
    text = table_text(read_text(path, is_table=True), str(path))
    if not text.strip():
        raise UserError(f"{path} is empty: a table was expected")
    separator = separator_of(text)
    separator = separator if separator in SEPARATORS else ","
    if separator != ",":
        warn(f"{name} is read with {SEPARATORS[separator]} between the columns")
    lines = read_rows(path, text, separator)
    width, _ = odd_rows(lines)
    rows = [row for _, row in lines[1:] if len(row) == width]
    if len(lines[0][1]) == width - 1:  # rows end in a separator, or begin with their names
        first = lines[0][1]
        wider = ["", *first] if any(row[-1].strip() for row in rows) else [*first, ""]
        if by_name or is_header(wider, rows):
            lines[0] = (1, wider)
    if odd := odd_rows(lines)[1]:
        warn(f"{name}: {len(odd):,} odd rows are left out ({odd[0]})")
    first, *rows = [row for _, row in lines if len(row) == width]
    cells = [cell.strip() for cell in first]
    if not by_name and not is_header(cells, rows):
        return Sheet(path, [str(number) for number in range(1, width + 1)], [first, *rows])
    if not rows:
        raise UserError(f"{path} holds a header and no rows: there is nothing to read")
    if not by_name:
        warn(f"the first line of {name} is taken for the header: {some(cells)}")
    header = [
        cell if cell and cell not in cells[:place] else f"{cell}{place + 1}"  # no name twice
        for place, cell in enumerate(cells)
    ]
    return Sheet(path, header, rows)


def read_rows(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """The rows of a CSV text, each behind the number of its first line.

    The quotes are read in the first way that fits. Raises UserError where none does.
    """
    # Fields between tabs often have no quotes around them, but single ones inside.
    last_ways = (LETTERS, LOOSE) if separator == "\t" else (LOOSE, LETTERS)
    faults = []
    for way in (STRICT, *([ESCAPED] if '\\"' in text else []), *last_ways):
        form, words = way
        file = io.StringIO(f"{text}\n{END}", newline="")
        reader = csv.reader(file, delimiter=separator, skipinitialspace=True, **form)
        lines, start = [], 1
        try:
            for row in reader:
                lines += [(start, row)] if row else []
                start = reader.line_num + 1
            start, row = lines.pop()
            if row != [END]:
                raise csv.Error("a quote is never closed")
        except csv.Error as error:
            faults.append((f"line {start} is damaged ({error})", "correct its quotes"))
            continue
        odd = odd_rows(lines)[1]
        if 10 * len(odd) > len(lines):
            remedy = "put double quotes around texts that hold the separator or a line break"
            faults.append((f"{len(odd)} of {len(lines)} rows are odd ({odd[0]})", remedy))
            continue
        if faults and (separator != "\t" or way is LOOSE):
            warn(f"{path}: {faults[0][0]}; quotes are read {words}, {len(lines):,} rows in all")
        return lines
    raise UserError(f"{path}: {': '.join(faults[0])}")


def odd_rows(lines: Sequence[tuple[int, Sequence[str]]]) -> tuple[int, list[str]]:
    """The number of fields that most rows have, and of each row with another what is odd."""
    width = Counter(len(row) for _, row in lines).most_common(1)[0][0]
    return width, [
        f"line {line} has {len(row)} columns instead of {width}"
        for line, row in lines
        if len(row) != width
    ]


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has a usual name, or only short words of which one heads labels."""
    lower = [cell.lower() for cell in first]
    if {*LABEL_NAMES, *TEXT_NAMES} & set(lower):
        return True
    if any(len(cell) > 30 or len(cell.split()) > 3 or NUMBER.fullmatch(cell) for cell in lower):
        return False
    columns = ([value.lower() for value in values_of(rows, place)] for place in range(len(first)))
    return any(
        len(column) > 4 and is_label(column) and name not in column
        for name, column in zip(lower, columns, strict=True)
    )


@dataclass(frozen=True)
class Labelled:
    """Texts with their classes, in splits.

    labels: int64 (texts,), numbers of `classes`. split: int64 (texts,), numbers of SPLITS.
    """

    texts: list[str]
    labels: Tensor
    classes: tuple[str, ...]
    split: Tensor

    @property
    def rows(self) -> dict[str, Tensor]:
        """The texts of each split, by number."""
        return {name: (self.split == n).nonzero()[:, 0] for n, name in enumerate(SPLITS)}


def read_labelled(
    files: Sequence[Path],
    *,
    label_column: str = "",
    text_columns: str = "",
    val_fraction: float,
    names: Mapping[str, str] | None = None,
) -> Labelled:
    """Read a training table, and a test table if there is one, and split their rows.

    label_column, text_columns (several between commas, joined by a blank): names, or numbers from
    1; empty = recognised. names: the only labels allowed, in lower case, and the classes they
    stand for; None takes the training labels as they are. Rows without a text or a label are left
    out and counted. Raises UserError on data it cannot use.
    """
    chosen = [name.strip() for name in text_columns.split(",") if name.strip()]
    by_name = not all(map(str.isdecimal, [label_column or "1", *chosen]))
    sheets = [read_sheet(path, by_name) for path in files]
    train = sheets[0]
    if len(sheets) == 2 and sheets[1].rows == train.rows:
        warn(f"{files[1]} has the rows of {files[0]}: what is tested was trained on")
    columns = [train.column(name) for name in chosen]
    label = train.column(label_column) if label_column else train.guess_label()
    columns = columns or train.guess_texts(label, "--text-columns")
    used = [label, *columns]
    names_used = [train.header[column].lower() for column in used]
    texts, labels, counts = [], [], []
    for sheet in sheets:
        lower = [name.lower() for name in sheet.header]
        is_named = names_used[0] != str(label + 1) and {*names_used} <= {*lower}
        require(
            len(train.header) > 1 and (is_named or len(sheet.header) == len(train.header)),
            f"{sheet.path} has {len(sheet.header)} columns where {max(2, len(train.header))} are "
            "expected: a label and a text at least, in the training and the test table alike",
        )
        in_any_order = is_named and sheet.header != train.header
        at, *others = map(lower.index, names_used) if in_any_order else used
        before = len(texts)
        for row in sheet.rows:
            text = " ".join(row[column] for column in others)
            if row[at].strip().lower() not in NO_LABELS and text.strip():
                texts.append(text)
                labels.append(re.sub(r"(?<=\d)\.0+$", "", row[at].strip()))  # 1.0 is 1
        counts.append(len(texts) - before)
        if empty := len(sheet.rows) - counts[-1]:
            warn(
                f"{sheet.path.name}: {empty:,} rows without a text or a label (nan, null, ? are "
                "none) are left out"
            )
    classes, numbers = number_labels(one_spelling(labels), counts[0], names)
    split = draw_splits(numbers, counts, val_fraction, classes)
    if len(files) == 1:
        split = join_copies(split, texts)
    labelled = Labelled(texts, numbers, classes, split)
    if not all(map(len, labelled.rows.values())):
        raise UserError(
            f"{files[0]} cannot be split ({counts[0]} rows, {len(classes)} classes): give more "
            "rows of each class, with different texts, or name another --label-column"
        )
    return labelled


def one_spelling(labels: Sequence[str]) -> list[str]:
    """The labels, in the usual one of the spellings that differ in case or in quotes around."""
    bare = {label: label.strip("\"' ") for label in set(labels)}
    usual: dict[str, str] = {}
    for label, _ in Counter(labels).most_common():
        usual.setdefault(bare[label].casefold(), bare[label])
    joined = {label: usual[bare[label].casefold()] for label in dict.fromkeys(labels)}
    if other := [f"{label} is {name}" for label, name in joined.items() if label != name]:
        warn(f"labels that differ in case or quotes alone are one: {some(other)}")
    return [joined[label] for label in labels]


def number_labels(
    labels: Sequence[str], train: int, names: Mapping[str, str] | None = None
) -> tuple[tuple[str, ...], Tensor]:
    """The classes, and the number of each label; the first `train` labels are for training.

    names: see `read_labelled`. Raises UserError on a label that is not one of the classes.
    """
    if names:
        digits = {label for label in set(labels) & {*names} if re.fullmatch(r"-?\d+", label)}
        if len(digits) > len({names[label] for label in digits}):
            raise UserError(
                f"the labels {', '.join(sorted(digits))} cannot be the two classes "
                f"{' and '.join(dict.fromkeys(names.values()))}: remove the rows that are neither"
            )
        labels = [names.get(label.lower(), label) for label in labels]
        classes = tuple(dict.fromkeys(names.values()))
    else:
        by_size = lambda x: (x.zfill(20) if x.isdecimal() else x, x)  # noqa: E731 - 2 before 10
        classes = tuple(sorted(set(labels[:train]), key=by_size))
    number = {name: place for place, name in enumerate(classes)}
    if unknown := Counter(label for label in labels if label not in number):
        raise UserError(
            f"the label {some([*unknown][:1])!r} ({unknown.total():,} rows) is not one of "
            f"{some([*(names or classes)])}: correct it, remove the rows, or name another "
            "--label-column"
        )
    if len(set(labels[:train])) < 2:
        raise UserError("all rows have one class: give rows of two classes or more")
    return classes, torch.tensor([number[label] for label in labels])


def draw_splits(
    labels: Tensor, counts: Sequence[int], val_fraction: float, classes: Sequence[str]
) -> Tensor:
    """The number in SPLITS of each row, the same for every seed of a run.

    counts: rows of the training table and of the test table, if there is one. Validation is drawn
    from the first, `val_fraction` of each class; so is the test split where there is no second.
    A class with too few rows stays in training.
    """
    random = torch.Generator().manual_seed(SPLIT_SEED)
    fractions = [val_fraction, TEST_FRACTION][: 3 - len(counts)]
    split = torch.full((len(labels),), SPLITS.index("test"))
    train = labels[: counts[0]]
    split[: counts[0]] = SPLITS.index("train")
    rare = []
    for label in train.unique().tolist():
        rows = (train == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=random)]
        sizes = [max(1, round(len(rows) * fraction)) for fraction in fractions]
        if sum(sizes) >= len(rows):
            rare.append(f"{classes[label][:30]} ({len(rows)})")
            continue
        *held_out, _ = rows.split([*sizes, len(rows) - sum(sizes)])
        for number, part in enumerate(held_out, start=SPLITS.index("val")):
            split[part] = number
    if rare:
        warn(f"too few rows to hold some out, all stay in training: {some(rare)}")
    return split


def join_copies(split: Tensor, texts: Sequence[str]) -> Tensor:
    """The splits with every copy of a text in the split of the first, so that none is tested on
    what it was trained on."""
    first: dict[str, int] = {}
    rows = torch.tensor([first.setdefault(clean(x).lower(), row) for row, x in enumerate(texts)])
    joined = split[rows]
    if moved := int((joined != split).sum()):
        warn(f"{moved:,} copies of a text are put into the split of the first")
    return joined
