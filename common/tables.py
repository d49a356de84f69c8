"""A user's table in any of the usual forms -> a DataFrame of text.

Recognised: packed files (gzip, bzip2, xz, zip), UTF-8, -16, -32 and Windows-1252, `;` `,` tab, `|`
or blanks between the fields, a missing header. pandas and csv.Sniffer do not do this: both take
the decimal comma of `2,6;3,1` for a separator.
"""

import bz2
import csv
import gzip
import io
import lzma
import re
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.settings import UserError

if TYPE_CHECKING:
    import pandas as pd

# Files
UNPACK = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ": lzma.decompress}
FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its sheet as CSV",
    b"PAR1": "a Parquet file: save it as CSV",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it first",
}
SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'", ",": "','"}  # the surest one first
SNIFFED = 200  # lines

# What stands for a missing value: words, and numbers that loggers write where nothing comes near.
EMPTY = {"", "na", "nan", "null", "none", "n/a", "#n/a", "nil", "missing", "-", "--", "?", ".", "*"}
EMPTY |= {"n.a.", "n.d.", "nd", "---", "***", "#div/0!", "#value!", "#ref!", "#num!", "#name?"}
CODES = (-200.0, -999.0, -999.9, -9999.0, -99999.0)
COUNTERS = {"", "no", "id", "index", "row", "nr", "number", "unnamed"}
MANY = 0.5  # of a column's cells may be no numbers and then count as missing
DOTTED = r"[+-]?[1-9]\d{0,2}(\.\d{3})+"  # 1.098.197, if dots group digits


def read_bytes(source: Path | str) -> bytes:
    """The contents of a file, a pipe or (`-`) standard input, unpacked where they are packed.

    Raises:
        UserError: absent, unreadable, empty, or an archive without exactly one table.
    """
    try:
        data = sys.stdin.buffer.read() if str(source) == "-" else Path(source).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{source} does not exist: check the name") from error
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror}): name a file") from error
    try:
        for magic, unpack in UNPACK.items():
            if data.startswith(magic):
                data = unpack(data)
        if data.startswith(b"PK\x03\x04"):
            archive = zipfile.ZipFile(io.BytesIO(data))
            names = archive.namelist()
            if "xl/workbook.xml" in names:
                raise UserError(f"{source} is an Excel workbook: save its sheet as CSV")
            names = [n for n in names if not re.search(r"(^|/)(__MACOSX/|\.)", n)]
            tables = [n for n in names if n.lower().endswith(".csv")]
            tables = tables or [n for n in names if n.lower().endswith((".tsv", ".txt"))]
            if len(tables) != 1:
                raise UserError(f"{source} holds {len(tables)} CSV files: save one and name it")
            data = archive.read(tables[0])
        for magic, remedy in FOREIGN.items():
            if data.startswith(magic):
                raise UserError(f"{title(source)} is {remedy}")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UserError(f"{source} is damaged ({error}): get it again") from error
    if not data.strip():
        raise UserError(f"{title(source)} is empty: a table with a header was expected")
    return data


def title(source: Path | str) -> str:
    """What messages call a source."""
    return "standard input" if str(source) == "-" else str(source)


def decode_line(data: bytes) -> tuple[str, str]:
    """Any bytes as text, and its encoding where that is not UTF-8 ("" where it is)."""
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "Windows-1252"


def decode(data: bytes, source: Path | str, is_table: bool = True) -> tuple[str, str]:
    """The bytes of a whole file as text, and its encoding where that is not UTF-8.

    Raises:
        UserError: no text, or a web page where a table was expected.
    """
    even, odd = (data[start:200:2].count(b"\0") for start in (0, 1))
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "UTF-16" if marked else "UTF-16-LE" if odd > 1 and not even else ""
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encoding = "UTF-32"
    if not encoding and b"\0" in data[:1024]:
        raise UserError(f"{title(source)} is not a text file: a CSV file was expected")
    if encoding:
        text = data.decode(encoding, errors="replace")
    else:
        text, encoding = decode_line(data)
    text = text.removeprefix("\ufeff")
    if is_table and text.lstrip().lower().startswith(("<!doctype", "<html")):
        raise UserError(
            f"{title(source)} is a web page (HTML), not a CSV file: download the raw file"
        )
    return text, encoding


def table_text(text: str, where: str) -> str:
    """The text of a table, empty where Excel names the separator; raises UserError on JSON."""
    if re.match(r'\s*[{[]\s*["{[]', text):
        raise UserError(f"{where} is a JSON file: save its table as CSV")
    return re.sub(r"^sep=.\r?\n", "\n", text)  # the line stays: lines are numbered in messages


def separator_of(text: str) -> str:
    """What stands between the fields: the same number of times in the header and most lines.

    r"\\s+" where blanks do; "" where each line is a single field.
    """
    lines = [line for line in text[: 1 << 18].splitlines() if line.strip()][:SNIFFED]
    for separator in SEPARATORS:
        widths = [len(fields) for fields in csv.reader(lines, delimiter=separator) if fields]
        usual = max(set(widths[1:] or widths), key=widths.count)
        alike = sum(width == usual for width in widths) / len(widths)
        if usual > 1 and widths[0] > 1 and abs(widths[0] - usual) <= 2 and alike >= 0.5:
            return separator
    widths = [len(line.split()) for line in lines]
    return r"\s+" if len(lines) > 1 and widths[0] > 1 and len(set(widths)) == 1 else ""


def read_table(
    source: Path | str, data: bytes | None = None
) -> tuple["pd.DataFrame", str, list[str]]:
    """The table as text without outer blanks, empty rows left out.

    Returns:
        the table, its separator, and what was assumed of its form (empty for commas and UTF-8).

    Raises:
        UserError: no table; see `read_bytes` and `decode`.
    """
    import pandas as pd

    where = title(source)
    text, encoding = decode(read_bytes(source) if data is None else data, source)
    text = table_text(text, where)
    comments = re.match(r"(\s*#.*\n)+\s*(?=[^\s\d])", text)  # with a header below them
    text = text[comments.end() if comments else 0 :]
    separator = separator_of(text)
    lines = text.splitlines()[:SNIFFED]
    for row in range(0 if separator else len(lines) // 2):
        is_header = separator_of("\n".join(lines[row:])) in SEPARATORS
        if is_header and re.search("[A-Za-z]", lines[row]):
            raise UserError(f"{where} has its header in line {row + 1}: delete the lines above it")
    named = SEPARATORS.get(separator, "blanks")
    if separator in SEPARATORS:  # lines may end in separators, more or fewer than the header
        text = re.sub(rf"{re.escape(separator)}+[ \r]*$", "", text, flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if line.strip()][:2]
    first, *below = csv.reader(lines, delimiter=separator[:1] or "\0")
    headless = any(first) and all(
        re.fullmatch(r"[\d\s.,:;/+'-]+(T[\d:.]+)?Z?|[nN]a[nN]?", f) for f in first if f
    )
    has_row_names = below != [] and len(below[0]) == len(first) + 1 and below[0][0] in ("0", "1")
    if has_row_names:  # as R writes them
        text = f"row{separator}{text.lstrip()}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields would be lost
            table = pd.read_csv(
                io.StringIO(text), sep=separator or "\0", dtype=str, keep_default_na=False,
                header=None if headless else 0, index_col=False, skipinitialspace=True,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        if isinstance(error, pd.errors.ParserWarning):
            reason = f"its rows have more fields than its header, which has {len(first)}"
        raise UserError(
            f"{where} is not a table with {named} between fields: {reason}: correct it, and delete "
            "lines above the header"
        ) from error
    notes = [f"{encoding} text"] if encoding else []
    notes += [f"{named} between fields"] if separator.strip(",") else []
    notes += ["no header: columns are numbered from 0"] if headless else []
    notes += ["lines that begin with # left out above the header"] if comments else []
    notes += ["the first column has no name and is called row"] if has_row_names else []
    names = [str(name).strip() for name in table.columns]
    table.columns = [
        f"{n}.{names[:i].count(n)}" if n in names[:i] else n for i, n in enumerate(names)
    ]
    table = table.apply(lambda column: column.fillna("").str.strip())
    table = table[(table != "").any(axis=1)].reset_index(drop=True)
    if table.empty:
        raise UserError(f"{where} holds a header and no rows: there is nothing to read")
    return table, separator, notes


def read_numbers(
    table: "pd.DataFrame", separator: str, columns: Sequence[str], missing: str, where: str,
    notes: list[str],
) -> tuple[np.ndarray, tuple[str, ...]]:  # fmt: skip
    """The columns of numbers, (rows, columns) float64 with NaN where missing, and their names.

    Args:
        separator: between the fields, as `read_table` found it.
        columns: names, which must hold numbers; empty = all columns that do.
        missing: `auto` (EMPTY, and CODES where they stand alone), `none` or numbers with commas.
        notes: what was assumed is added to them.

    Raises:
        UserError: no such column, or no numbers in it.
    """
    names = [find_column(table, name, where, notes) for name in columns] or list(table.columns)
    if not names:
        raise UserError(f"{where} holds times and nothing else: a column of numbers is needed")
    table = table[names].apply(lambda column: column.str.replace("\u2212", "-"))  # a minus sign
    comma = decimal_comma(table, separator, notes)
    values, left_out, words, codes = {}, [], Counter(), Counter()
    for name in names:
        text = table[name].str.lower()
        if not comma and dots_group(text):
            notes.append(f"dot between thousands in {name!r}")
            text = text.str.replace(".", "", regex=False)
        column = parse_numbers(text, comma)
        empty = text.isin(EMPTY).to_numpy()
        wrong = np.isnan(column) & ~empty
        if wrong.sum() > MANY * (~empty).sum():
            row = int(wrong.argmax())
            fault = f"{table[name].iloc[row]!r} in column {name!r} (data row {row + 1})"
            if columns:
                raise UserError(
                    f"{where}: {fault} is no number, and {int(wrong.sum())} of {len(text)} values "
                    "are not: correct them, or name another column"
                )
            left_out.append(fault)
        elif not columns and is_counter(name, column):
            left_out.append(f"{name!r} counts the rows")
        else:
            words.update(text[empty & (text != "") | wrong].tolist())
            words["infinite"] += int(np.isinf(column).sum())
            column[np.isinf(column)] = np.nan
            for code in codes_of(column, missing):
                codes[f"{code:g}"] += int((column == code).sum())
                column[column == code] = np.nan
            values[name] = column
    if not values or all(np.isnan(column).all() for column in values.values()):
        example = f": {left_out[0]}" if left_out else ""
        raise UserError(f"{where} holds no numbers at all in {', '.join(names)}{example}")
    if left_out:
        notes.append(f"columns that are no measurements left out: {', '.join(left_out)}")
    if counted := +(words + codes):
        told = ", ".join(f"{word} ({count:,})" for word, count in counted.most_common(5))
        notes.append(f"count as missing: {told}{'; --missing none keeps codes' if codes else ''}")
    return np.column_stack(list(values.values())), tuple(values)


def find_column(table: "pd.DataFrame", name: str, where: str, notes: list[str]) -> str:
    """A column by its name, or by one that differs in case, blanks and punctuation alone.

    Raises:
        UserError: there is none.
    """
    if name in table.columns:
        return name
    alike = [other for other in table.columns if plain(other) == plain(name) != ""]
    if len(alike) != 1:
        raise UserError(
            f"{where} has no column {name!r}; it has {', '.join(map(repr, table.columns[:12]))}"
        )
    notes.append(f"column {alike[0]!r} is taken for {name!r}")
    return alike[0]


def plain(name: str) -> str:
    """`PT08.S1(CO)` -> `pt08s1co`."""
    return re.sub(r"[\W_]", "", name.lower())


def decimal_comma(table: "pd.DataFrame", separator: str, notes: list[str]) -> bool:
    """Whether 2,6 is a little more than two and a half: decided over the whole table."""
    cells = set().union(*(column[column.str.contains(",")] for _, column in table.items()))
    cells = {cell for cell in cells if re.fullmatch(r"[+-]?[\d.,\s'\u2019]+([eE][+-]?\d+)?", cell)}
    if not cells:
        return False
    both = [cell for cell in cells if "." in cell]
    grouped = all(re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", cell) for cell in cells)
    if both:
        comma = both[0].rfind(",") > both[0].rfind(".")
    elif grouped and not any(cell.count(",") > 1 for cell in cells):

        def has(form: str) -> bool:
            return bool(table.apply(lambda column: column.str.fullmatch(form).any()).any())

        is_likely = separator == ";" or has(r"[+-]?\d{4,}")
        comma = is_likely and not has(rf"(?!{DOTTED}$)[+-]?\d*\.\d+")
    else:
        comma = not grouped
    told = "decimal comma" if comma else "comma between thousands"
    notes.append(f"{told}, as in {min(cells)}")
    return comma


def dots_group(text: "pd.Series") -> bool:
    """Whether dots stand between thousands: two of them in a number, or 1.000 beside 999."""
    dotted = text[text.str.fullmatch(r"[+-]?[\d.]*\.[\d.]*\d")]
    has_two = dotted.str.count(r"\.").gt(1).any()
    has_zero = dotted.str.endswith("0").any() and text.str.fullmatch(r"[+-]?[1-9]\d\d").any()
    return bool((has_two or has_zero) and dotted.str.fullmatch(DOTTED).all())


def parse_numbers(text: "pd.Series", comma: bool) -> np.ndarray:
    """Text as float64, NaN where it is no number; blanks and apostrophes may group digits."""
    import pandas as pd

    marks = rf"[{'.' if comma else ','}\s'’]"
    odd = text.str.contains(rf"{marks}|,")
    if odd.any():
        plainly = text[odd].str.replace(rf"(?<=\d){marks}(?=\d{{3}})", "", regex=True)
        text = text.mask(odd, plainly.str.replace(",", "."))
    return pd.to_numeric(text, errors="coerce").to_numpy(np.float64, copy=True)


def is_counter(name: str, column: np.ndarray) -> bool:
    """Whether a column only numbers the rows."""
    return plain(name).rstrip("0") in COUNTERS and bool((np.diff(column) == 1).all())


def codes_of(column: np.ndarray, missing: str) -> list[float]:
    """The numbers in a column that stand for a missing value."""
    if missing == "none":
        return []
    if missing != "auto":
        return [float(code) for code in missing.split(",")]
    seen = column[~np.isnan(column)]
    lowest = seen.min() if len(seen) else 0.0
    others = seen[seen > lowest]
    alone = (seen == lowest).sum() > 1 and (not len(others) or others.min() > lowest / 2)
    return [lowest] if lowest in CODES and alone else []
