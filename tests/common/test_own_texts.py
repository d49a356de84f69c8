"""common/own_texts.py: tables as users have them, recognised, counted and split without leaks."""

import csv
import gzip
import io

import pytest
import torch

from common.own_texts import read_labelled
from common.settings import UserError
from common.settings import _warned as warned_before

PHRASES = ("a great film with heart", "dull, and far too long", 'he said "never again"')


def table(rows, **form):
    file = io.StringIO(newline="")
    csv.writer(file, **form).writerows(rows)
    return file.getvalue()


def phrase(number):
    return f"{PHRASES[number % 3]} {'abcdefghij'[number // 10 % 10]}{number}"


ROWS = [("xy"[i % 2], phrase(i)) for i in range(60)]


@pytest.fixture
def read(tmp_path, capsys):
    """Reads a table with `read_labelled`; returns what it gives and the notes."""
    warned_before.clear()

    def read(content, *, name="mine.csv", test=None, **settings):
        paths = [tmp_path / name]
        paths[0].write_bytes(content if isinstance(content, bytes) else content.encode())
        if test is not None:
            paths.append(tmp_path / "test.csv")
            paths[1].write_text(test)
        return read_labelled(paths, **{"val_fraction": 0.1} | settings), capsys.readouterr().err

    return read


def labels_by_text(labelled):
    names = [labelled.classes[label] for label in labelled.labels]
    return dict(zip(labelled.texts, names, strict=True))


def counts(labelled):
    return {split: len(rows) for split, rows in labelled.rows.items()}


def test_plain_table_is_read_without_a_note(read):
    labelled, notes = read(table(ROWS))
    assert labels_by_text(labelled) == {text: label for label, text in ROWS}
    assert counts(labelled) == {"train": 48, "val": 6, "test": 6}
    assert sorted(torch.cat([*labelled.rows.values()]).tolist()) == list(range(60))
    assert not notes


EXCEL = b"label;text\r\n" + "".join(f"{a};{b} café\r\n" for a, b in ROWS).encode("cp1252")
FORMS = {
    "semicolons, Windows-1252": (EXCEL, "';' between the columns"),
    "tabs and single quotes": (
        "".join(f'{a}\t"{b}\n' if i % 2 else f"{a}\t{b}\n" for i, (a, b) in enumerate(ROWS)),
        "a tab between the columns",
    ),
    "bars": (table(ROWS, delimiter="|"), "'|' between the columns"),
    "UTF-16": (table(ROWS).encode("utf-16"), "UTF-16"),
    "byte-order mark": (b"\xef\xbb\xbf" + table(ROWS).encode(), ""),
    "packed": (gzip.compress(table(ROWS).encode()), ""),
    "header of usual names": (table([("sentiment", "review"), *ROWS]), "taken for the header"),
    "tabs and quoted lines": (
        table([(a, f"{b}\nsecond line") for a, b in ROWS], delimiter="\t"),
        "a tab between the columns",
    ),
    "backslashes before quotes": (
        table(ROWS, quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\"),
        "a backslash as letters, 60 rows in all",
    ),
    "a stray quote": (
        'x,"so" they said\n' + table(ROWS[1:]),
        "quotes are read as far as they go, 60 rows",
    ),
    "Excel's first line": ("sep=;\n" + table(ROWS, delimiter=";"), "';' between the columns"),
    "blanks after commas": (table(ROWS, quoting=csv.QUOTE_ALL).replace('",', '", '), ""),
    "a comma at the end of each row": (
        "label,text\n" + "".join(f"{line},\n" for line in table(ROWS).splitlines()),
        "3 (empty)",
    ),
    "names of the rows": (
        "label,text\n" + table([(i, *row) for i, row in enumerate(ROWS)]),
        "1 (numbers or ids)",
    ),
    "UTF-32": (table(ROWS).encode("utf-32"), "UTF-32"),
    "a second column of labels": (
        table([("label", "name", "text"), *((a, f"very {a}", b) for a, b in ROWS)]),
        "name (few short values)",
    ),
    "an index column": (
        table([("", "text", "label"), *((i, b, a) for i, (a, b) in enumerate(ROWS))]),
        "1 (numbers or ids)",
    ),
}


@pytest.mark.parametrize(("content", "note"), FORMS.values(), ids=FORMS)
def test_forms_that_are_recognised(read, content, note):
    labelled, notes = read(content)
    assert labelled.classes == ("x", "y")
    assert len(labelled.texts) == 60
    assert PHRASES[1] in labelled.texts[1]
    assert note in notes


def test_one_windows_line_spoils_no_other(read):
    rows = table([(a, f"{b} café") for a, b in ROWS])
    labelled, notes = read(b"\xef\xbb\xbf" + rows.encode() + "x,another café".encode("cp1252"))
    assert labelled.classes == ("x", "y")
    assert all("café" in text for text in labelled.texts)
    assert "Windows-1252 text: if letters look wrong, save it as UTF-8" in notes


def test_a_text_may_be_longer_than_pythons_csv_reader_takes(read):
    csv.field_size_limit(131_072)  # as in a new process
    labelled, _ = read(table([("x", "long " * 100_000), *ROWS]))
    assert len(labelled.texts[0]) == 500_000


SENTIMENT140 = table(
    [
        (4 * (i % 2), 1467810369 + i, f"Mon Apr 06 22:{10 + i % 50}:45 PDT 2009", "NO_QUERY",
         f"user_{i % 9}", phrase(i))
        for i in range(60)
    ],
    quoting=csv.QUOTE_ALL,
)  # fmt: skip


@pytest.mark.parametrize("columns", [{}, {"label_column": "1", "text_columns": "6"}])
def test_sentiment140_gives_its_texts_alone(read, columns):
    labelled, notes = read(SENTIMENT140, **columns)
    assert labelled.classes == ("0", "4")
    assert labelled.texts == [phrase(i) for i in range(60)]
    if not columns:
        for column in ("2 (numbers or ids)", "3 (dates)", "4 (one value)", "5 (numbers or ids)"):
            assert column in notes
        assert "--text-columns chooses" in notes


def test_columns_by_name_and_number(read):
    rows = table(
        [("Id", "Title", "Verdict", "Body"), *((i, b, a, a) for i, (a, b) in enumerate(ROWS))]
    )
    for names in (
        {"label_column": "verdict", "text_columns": "title, body"},
        {"label_column": "3", "text_columns": "2,4"},
    ):
        labelled, _ = read(rows, **names)
        assert labelled.texts[0] == f"{phrase(0)} x"
        assert labelled.classes == ("x", "y")


def test_empty_rows_are_counted_and_a_rare_class_stays_in_training(read):
    odd = [("rare", "one of its kind"), ("rare", "and another"), ("", "no label"), ("x", " ")]
    labelled, notes = read(table([*ROWS, *odd]) + ",\n")
    assert "3 rows without a text or a label" in notes
    assert "rare (2)" in notes
    assert labelled.classes == ("rare", "x", "y")
    assert {60, 61} <= set(labelled.rows["train"].tolist())


def test_a_few_odd_rows_are_counted_many_are_refused(read):
    labelled, notes = read(table(ROWS) + "x\nx,one,two\n")
    assert len(labelled.texts) == 60
    assert "2 odd rows are left out (line 61 has 1 columns instead of 2)" in notes
    with pytest.raises(UserError, match=r"8 of 68 rows are odd \(line 61 has 3 columns"):
        read(table(ROWS) + "x,one,two\n" * 8)


def test_copies_of_a_text_never_stand_on_two_sides(read):
    labelled, notes = read(table([(a, f"text number {i % 20}!") for i, (a, b) in enumerate(ROWS)]))
    sides = [{labelled.texts[row] for row in rows} for rows in labelled.rows.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    assert "copies of a text" in notes


def test_numbers_are_in_the_order_of_their_size_and_1_0_is_1(read):
    labelled, _ = read(table([(f"{1 + i % 11}.0", phrase(i)) for i in range(110)]))
    assert labelled.classes == tuple(str(number) for number in range(1, 12))


def test_names_join_spellings_of_a_class(read):
    names = dict.fromkeys(("neg", "negative", "0"), "negative")
    names |= dict.fromkeys(("1", "pos"), "positive")
    rows = [(("NEG", "Negative", "1", "0.0", "pos")[i % 5], phrase(i)) for i in range(60)]
    labelled, _ = read(table(rows), names=names)
    assert labelled.classes == ("negative", "positive")
    assert labelled.labels[:5].tolist() == [0, 0, 1, 0, 1]
    with pytest.raises(UserError, match=r"the label 'meh' \(1 rows\) is not one of neg, negative"):
        read(table([*rows, ("meh", "so so")]), names=names)


def test_spellings_of_a_label_are_one_and_blank_ones_none(read):
    spelt = ("spam", "spam", "SPAM", "'spam'", "ham", "ham", "Ham", "NaN", "null", "N/A", "?")
    labelled, notes = read(table([(spelt[i % 11], phrase(i)) for i in range(110)]))
    assert labelled.classes == ("ham", "spam")
    assert len(labelled.texts) == 70
    assert "40 rows without a text or a label" in notes
    assert "SPAM is spam, 'spam' is spam, Ham is ham" in notes


@pytest.mark.parametrize("labels", [(-1, 0, 1), (-1.0, 0.0), (0, 1, 4)])
def test_more_numbers_than_the_two_classes_are_refused(read, labels):
    names = {"-1": "negative", "0": "negative", "1": "positive", "4": "positive"}
    rows = [(labels[i % len(labels)], phrase(i)) for i in range(60)]
    with pytest.raises(UserError, match="cannot be the two classes negative and positive"):
        read(table(rows), names=names)


def test_messages_list_ten_labels_at_most(read):
    rows = [(f"label {'long ' * 20}{i}", phrase(i)) for i in range(200)]
    with pytest.raises(UserError, match=r"the label 'label long [^']{,30}…'"):
        read(table(rows), names={"a": "b"}, label_column="1")
    _, notes = read(table([*ROWS, *rows]), label_column="1")
    assert "and 190 more" in notes
    assert max(map(len, notes.splitlines())) < 600


def test_a_test_table_has_its_columns_in_any_order_and_other_rows(read):
    rows = [("label", "text"), *ROWS]
    labelled, notes = read(table(rows), test=table([(b, a) for a, b in rows]))
    assert labelled.classes == ("x", "y")
    assert labelled.texts[60:] == labelled.texts[:60]
    assert "has the rows of" not in notes
    _, notes = read(table(rows), test=table(rows))
    assert "what is tested was trained on" in notes


def test_a_test_table_of_its_own(read):
    own = table([("kind", "body"), ("y", "only tested")])
    labelled, _ = read(table([("kind", "body"), *ROWS]), test=own, label_column="kind")
    assert counts(labelled) == {"train": 54, "val": 6, "test": 1}
    assert labelled.texts[labelled.rows["test"][0]] == "only tested"
    assert labelled.labels[labelled.rows["test"]].tolist() == [1]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("", {}, "mine.csv is empty"),
        ("one column\n" * 9, {}, "label"),
        ("x,same class\nx,another\n" * 9, {}, "one class"),
        ("x,one\ny,two\n", {}, "cannot be split"),
        ("\ufeff \n", {}, "mine.csv is empty"),
        ("label,text\n", {}, "holds a header and no rows"),
        ('[{"label": 1, "text": "good"}]', {}, "is a JSON file: save its table as CSV"),
        (gzip.compress(table(ROWS).encode())[:12] + b"\xff" * 99, {}, "is damaged"),
        (table(ROWS) + 'x,"never closed\n', {}, "line 61 is damaged"),
        (table(ROWS), {"label_column": "verdict"}, r"no column 'verdict'.*numbers from 1"),
        (table(ROWS), {"text_columns": "3"}, "no column '3': its columns are 1, 2"),
        (
            table([("a", "b", "c"), *(("pq"[i % 2], *row) for i, row in enumerate(ROWS))]),
            {},
            "which column is the label: name it with --label-column, one of a, b, c",
        ),
        (table([(b, a) for a, b in ROWS]), {}, "which column is the label"),
        (table([("mood", "words said"), *ROWS]), {}, "one of mood, words said"),
        (b"PK\x05\x06" + b"\0" * 30, {}, "mine.csv"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(read, content, settings, message):
    with pytest.raises(UserError, match=message):
        read(content, **settings)


def test_test_table_of_another_form_is_one_sentence(read):
    with pytest.raises(UserError, match=r"the label 'z' \(1 rows\) is not one of x, y"):
        read(table(ROWS), test="z,no such class\n")
    with pytest.raises(UserError, match=r"test.csv has 3 columns where 2"):
        read(table(ROWS), test="x,one,two\n")
