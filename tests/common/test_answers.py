"""common/answers.py: what the predict.py of text projects read and write."""

import csv
import io
import json
import os
import sys
import zipfile

import pytest

from common.answers import Answer, PredictConfig, read_inputs, report
from common.settings import UserError
from common.settings import _warned as warned_before


@pytest.fixture(autouse=True)
def first_time():
    """Notes are printed once in a process."""
    warned_before.clear()


@pytest.fixture
def stdin(monkeypatch):
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def texts(**settings):
    return [given.text for given in read_inputs(PredictConfig(**settings))]


def answers(config, sample=False):
    made = (Answer(given, "good", 0.75, {"words": 2}, "  [x]") for given in read_inputs(config))
    return report(config, made, sample)


def test_lines_of_every_encoding(stdin, capsys):
    lines = [f"line {number} café" for number in range(26)]
    data = b"\xef\xbb\xbf" + "\n".join(lines).encode() + b"\n\n  \ncaf\xe9 \x93here\x94\r\n"
    for names in ((), ("-",)):
        stdin(data)
        assert texts(texts=names) == [*lines, "café “here”"]
    assert "Windows-1252" in capsys.readouterr().err
    stdin("one\r\n\r\ntwo café\r\n".encode("utf-16"))
    assert texts() == ["one", "two café"]


def test_an_odd_line_or_file_ends_no_prediction(stdin, tmp_path, capsys):
    stdin(b"<html>good film\nno \0 end\n")
    assert texts() == ["<html>good film", "no \0 end"]
    for name, content in (("a.txt", b""), ("b.TXT", b"<html>good"), ("c.txt", b"\0\1\2\0")):
        (tmp_path / name).write_bytes(content)
    assert texts(texts=(str(tmp_path),)) == ["<html>good"]
    assert capsys.readouterr().err.count("is left out") == 2


def test_texts_files_and_folders(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.txt").write_bytes(b"\xef\xbb\xbffirst line\nsecond")
    (tmp_path / "folder" / ".hidden.txt").write_text("no")
    file = tmp_path / "notes"
    file.write_text("a file without an ending")
    given = texts(texts=("plain words", str(tmp_path / "folder"), str(file), " "), file=file)
    assert given == ["plain words", "first line\nsecond", *["a file without an ending"] * 2]
    assert texts(texts=("x" * 5000,)) == ["x" * 5000]  # no file has so long a name


TABLE = 'id,review,note\n1,good film,a\n2,,b\n3,"bad, film",c\n'


@pytest.mark.parametrize("column", ["review", "2", ""])
def test_csv_keeps_its_columns(tmp_path, column, capsys):
    (tmp_path / "in.csv").write_text(TABLE)
    config = PredictConfig(
        file=tmp_path / "in.csv", text_column=column, output=tmp_path / "out.csv"
    )
    assert len(answers(config)) == 2
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert [row["prediction"] for row in rows] == ["good", "", "good"]
    assert [row["probability"] for row in rows] == ["0.75", "", "0.75"]
    assert rows[2]["review"] == "bad, film"
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert ("--text-column chooses" in captured.err) == (column == "")


def test_columns_of_the_models_names_are_kept(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("text,prediction,text\ngood film,mine,a\n,old,b\n")
    answers(
        PredictConfig((str(tmp_path / "in.csv"),), text_column="1", output=tmp_path / "out.csv")
    )
    assert (tmp_path / "out.csv").read_text() == (
        "text,prediction,text3,prediction_model,probability,words\n"
        "good film,mine,a,good,0.75,2\n"
        ",old,b,,,\n"
    )
    assert "_model behind" in capsys.readouterr().err


def test_tables_on_standard_input_in_archives_and_in_capitals(tmp_path, stdin):
    stdin(TABLE.encode())
    assert texts(texts=("-",), text_column="review")[::2] == ["good film", "bad, film"]
    (tmp_path / "IN.CSV").write_text(TABLE)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(tmp_path / "IN.CSV", "in.csv")
    for name in ("IN.CSV", "in.zip"):
        assert len(texts(texts=(str(tmp_path / name),))) == 3


def test_the_table_is_written_when_nobody_reads_the_lines(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        answers(PredictConfig(("good film", "bad film"), output=tmp_path / "out.csv"))
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


def test_an_output_that_cannot_be_written_is_known_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="for answers --output"):
        report(PredictConfig(output=tmp_path / "file" / "out.csv"), iter([None]), sample=False)


@pytest.mark.parametrize("sample", [False, True])
def test_lines_and_json_say_sample(capsys, sample):
    answers(PredictConfig(("good\nfilm",)), sample)
    line = capsys.readouterr().out
    assert line == ("SAMPLE  " if sample else "") + "good         0.750  good film  [x]\n"
    answers(PredictConfig(("good\nfilm",), json=True), sample)
    made = json.loads(capsys.readouterr().out)
    assert made.pop("sample", False) == sample
    assert made == {"text": "good\nfilm", "prediction": "good", "probability": 0.75, "words": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"texts": ("", " \n")}, "there is no text"),
        ({"texts": ("absent.csv",)}, "absent.csv does not exist"),
        ({"texts": ("reviews/absent.txt",)}, "absent.txt does not exist"),
        ({"texts": ("a good film",), "text_column": "review"}, "'a good film' is not"),
        ({"texts": (os.path.dirname(__file__),)}, "holds no .txt file"),
    ],
)
def test_nothing_to_predict_is_one_sentence(settings, message):
    with pytest.raises(UserError, match=message):
        texts(**settings)


def test_column_that_is_not_there_is_one_sentence(tmp_path):
    (tmp_path / "in.csv").write_text(TABLE)
    with pytest.raises(UserError, match="no column 'text': its columns are id, review, note"):
        texts(file=tmp_path / "in.csv", text_column="text")
