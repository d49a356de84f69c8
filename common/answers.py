"""What the predict.py of the text projects share: the texts that a user gives, and the answers."""

import csv
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import tyro

from common.checkpoints import write_text
from common.own_texts import read_sheet
from common.settings import UserError, require, warn
from common.tables import decode_line
from common.text import read_text

TABLES = {".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".parquet"}  # some are read, others named
FILE_NAME = re.compile(r"\S+\.(txt|csv|tsv)(\.(gz|bz2|xz|zip))?", re.I)  # what is hardly a text


@dataclass
class PredictConfig:
    """Predict texts with a trained run."""

    texts: tyro.conf.Positional[tuple[str, ...]] = ()  # texts, files or folders; none or - = stdin
    file: Path | None = None  # a CSV file with a text in each row, or another that is one text
    text_column: str = ""  # of the CSV files: its name or its number from 1; empty = recognised
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
    path, name = Path(word).expanduser(), config.text_column
    is_file = word in ("-", str(config.file)) or FILE_NAME.fullmatch(word) or os.path.isfile(path)
    require(
        bool(is_file) or not name,
        f"--text-column {name} names a column of a table, which {word[:40]!r} is not: give a file, "
        "or leave the flag out",
    )
    if word.strip() and os.path.isdir(path):
        files = [file for file in path.rglob("[!.]*") if file.suffix.lower() == ".txt"]
        if not files:
            raise UserError(f"{path} holds no .txt file: name a folder of texts, or a file")
        for file in sorted(files):
            try:
                yield Input(read_text(file), {"file": str(file)})
            except UserError:
                warn(f"{file} is left out: it is empty, or cannot be read as text")
    elif not is_file:
        yield Input(word)
    elif word == "-" and not name:
        yield from map(Input, read_lines(sys.stdin.buffer))
    elif not name and not is_table(path):
        yield Input(read_text(path), {"file": word})
    else:
        sheet = read_sheet(path, by_name=bool(name) and not name.isdecimal())
        columns = [sheet.column(name)] if name else sheet.guess_texts(None, "--text-column")
        for row in sheet.rows:
            text = " ".join(row[column] for column in columns)
            yield Input(text, dict(zip(sheet.header, row, strict=True)))


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name, or by a name inside it where it is a zip archive."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            suffixes |= {Path(name).suffix.lower() for name in archive.namelist()}
    return bool(suffixes & TABLES)


def read_lines(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a stream without blanks around them.

    Windows-1252 is recognised line by line; so is UTF-16, as PowerShell writes it.
    """
    for line in stream:
        text, encoding = decode_line(line)
        is_utf16 = line.startswith((b"\xff\xfe", b"\xfe\xff"))  # its lines end in two bytes
        if is_utf16:
            text, encoding = (line + stream.read()).decode("utf-16", "replace"), "UTF-16"
        if encoding:
            warn(f"standard input holds {encoding} text: it is read as that")
        yield from map(str.strip, text.splitlines() if is_utf16 else [text])


def report(config: PredictConfig, answers: Iterable[Answer], sample: bool) -> list[Answer]:
    """Print each answer as it comes, write the CSV file if one is asked for, return them all.

    sample: the model learned from the generated sample, which each line says. Raises UserError
    where the file cannot be written.
    """
    if config.output and not config.output.is_file():  # known before the work, not after it
        write_text(config.output, "")
        config.output.unlink()
    kept, rows = [], []
    for answer in answers:
        text = " ".join(answer.input.text.split())
        made = {"prediction": answer.label, "probability": round(answer.probability, 6)}
        made |= {**answer.extra, **({"sample": True} if sample else {})}
        rows.append((answer.input.columns or {"text": answer.input.text}, made if text else {}))
        if not text:
            continue
        kept.append(answer)
        mark = "SAMPLE  " if sample else ""
        line = f"{mark}{answer.label:<12} {answer.probability:.3f}  {text[:100]}{answer.remark}"
        line = json.dumps({"text": answer.input.text} | made) if config.json else line
        try:
            print(line, flush=True)
        except BrokenPipeError:  # `| head` has read enough; the table is wanted all the same
            if not config.output:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if config.output:
        write_text(config.output, output_table(rows))
    return kept


def output_table(rows: Sequence[tuple[dict[str, str], dict[str, Any]]]) -> str:
    """The input's columns and the model's as CSV text; a name of both gets a suffix for ours."""
    own = dict.fromkeys(name for given, _ in rows for name in given)
    names = {name: name for _, made in rows for name in made}
    for name in names:
        while names[name] in own:
            names[name] += "_model"
    if taken := [name for name in names if names[name] != name]:
        warn(f"the input has columns {', '.join(taken)}: the model's have _model behind their name")
    table = io.StringIO()
    writer = csv.DictWriter(table, [*own, *names.values()], lineterminator="\n")
    writer.writeheader()
    writer.writerows(given | {names[n]: value for n, value in made.items()} for given, made in rows)
    return table.getvalue()
