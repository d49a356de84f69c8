"""What the predict.py of the text projects share: the texts that a user gives, and the answers."""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import tyro

from common.checkpoints import write_text
from common.own_texts import read_sheet
from common.settings import UserError, warn
from common.tables import decode
from common.text import read_text

FILE_NAME = re.compile(r"\S+\.(txt|csv|tsv)(\.(gz|bz2|xz|zip))?")  # what is hardly a text


@dataclass
class PredictConfig:
    """Predict texts with a trained run."""

    texts: tyro.conf.Positional[tuple[str, ...]] = ()  # texts, files or folders; none or - = stdin
    file: Path | None = None  # a CSV file with a text in each row, or another that is one text
    text_column: str = ""  # of the CSV file: its name or its number from 1; empty = recognised
    output: Path | None = None  # also write a CSV file; it keeps the columns of the input's
    json: bool = False  # print an object a line
    run: str = ""  # folder or name of a run; empty = the latest finished one
    out: Path | None = None  # folder of the runs; default runs/
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps


@dataclass
class Input:
    """A text to predict, and what is known of it: its row of a CSV file, or the file's name."""

    text: str
    columns: dict[str, str] = field(default_factory=dict)


@dataclass
class Answer:
    """What a model says of a text.

    extra: more columns of the output and keys of the JSON. remark: printed behind the text.
    """

    input: Input
    label: str
    probability: float
    extra: dict[str, Any] = field(default_factory=dict)
    remark: str = ""


def read_inputs(config: PredictConfig) -> Iterator[Input]:
    """The texts that a user gives; blank ones are left out, but not those of files.

    Raises UserError where there is none, or a file cannot be read.
    """
    given = [*config.texts, *([str(config.file)] if config.file else [])] or ["-"]
    count = 0
    for word in given:
        for made in _inputs(word, config):
            count += bool(made.text.strip())
            if made.text.strip() or made.columns:
                yield made
    if not count:
        raise UserError("there is no text: give one in quotes, a file, or lines on standard input")


def _inputs(word: str, config: PredictConfig) -> Iterator[Input]:
    """The texts that one word of the command line stands for."""
    path = Path(word).expanduser()
    if word == "-":
        yield from map(Input, read_lines(sys.stdin.buffer))
    elif word.strip() and os.path.isdir(path):
        for file in sorted(path.rglob("[!.]*.txt")):
            yield Input(read_text(file), {"file": str(file)})
    elif word != str(config.file) and not (FILE_NAME.fullmatch(word) or os.path.isfile(path)):
        yield Input(word)
    elif not {".csv", ".tsv"} & set(path.suffixes):
        yield Input(read_text(path), {"file": word})
    else:
        name = config.text_column
        sheet = read_sheet(path, by_name=bool(name) and not name.isdecimal())
        columns = [sheet.column(name)] if name else sheet.guess_texts(None, "--text-column")
        for row in sheet.rows:
            text = " ".join(row[column] for column in columns)
            yield Input(text, dict(zip(sheet.header, row, strict=True)))


def read_lines(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a stream without blanks around them.

    Windows-1252 is recognised line by line; so is UTF-16, as PowerShell writes it.
    """
    for line in stream:
        is_utf16 = line.startswith((b"\xff\xfe", b"\xfe\xff"))  # its lines end in two bytes
        text, encoding = decode(line + stream.read() if is_utf16 else line, "standard input")
        if encoding:
            warn(f"standard input holds {encoding} text: it is read as that")
        yield from map(str.strip, text.splitlines() if is_utf16 else [text])


def report(config: PredictConfig, answers: Iterable[Answer], sample: bool) -> list[Answer]:
    """Print each answer as it comes, write the CSV file if one is asked for, return them all.

    sample: the model learned from the generated sample, which each line says.
    """
    kept, rows = [], []
    for answer in answers:
        text = " ".join(answer.input.text.split())
        made = {"prediction": answer.label, "probability": round(answer.probability, 6)}
        made |= {**answer.extra, **({"sample": True} if sample else {})}
        rows.append((answer.input.columns or {"text": answer.input.text}) | (made if text else {}))
        if not text:
            continue
        kept.append(answer)
        mark = "SAMPLE  " if sample else ""
        line = f"{mark}{answer.label:<12} {answer.probability:.3f}  {text[:100]}{answer.remark}"
        print(json.dumps({"text": answer.input.text} | made) if config.json else line, flush=True)
    if config.output:
        import pandas as pd

        table = pd.DataFrame(rows, dtype=object)
        write_text(config.output, table.to_csv(index=False, lineterminator="\n"))
    return kept
