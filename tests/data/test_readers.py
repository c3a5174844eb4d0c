"""Readers: every format, and every kind of bad input."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.data.lines import LineFile
from dvs2s.data.malformed import MalformedLog
from dvs2s.data.readers import read_pairs, source_files
from dvs2s.data.turns import Pair
from dvs2s.errors import DataError


def read(
    path: Path, format: str = "tsv", *, split: str = "train", turns: int = 1, limit: int = 1000
) -> tuple[list[Pair], MalformedLog]:
    log = MalformedLog()
    pairs = read_pairs(
        path, format=format, split=split, context_turns=turns, log=log, line_limit=limit
    )
    return list(pairs), log


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
@pytest.mark.parametrize("content", [b"hi\tyo\na b\tc\n", b"\xef\xbb\xbfhi\tyo\r\n\r\na b\tc"])
def test_tsv_with_and_without_bom_crlf_blank_lines_and_last_line_end(
    tmp_path: Path, name: str, content: bytes
) -> None:
    pairs, log = read(write(tmp_path / name, content))
    assert pairs == [(("hi",), "yo"), (("a b",), "c")]
    assert (log.read, log.count, log.blank) == (2, 0, content.count(b"\r\n\r\n"))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"one column", "no tab"),
        (b"a\tb\tc", "more than two columns"),
        (b"\tb", "empty side"),
        (b"a\t  ", "empty side"),
        (b"a\0\tb", "NUL byte"),
        (b"a\tb\xff", "invalid UTF-8"),
        (b"a\t" + b"b" * 1000, "over-long line"),
    ],
)
def test_malformed_lines_are_counted_by_kind_and_shown(
    tmp_path: Path, line: bytes, kind: str
) -> None:
    path = write(tmp_path / "a.tsv", b"good\tpair\n" * 50 + line + b"\nlast\tpair\n")
    pairs, log = read(path)
    assert len(pairs) == 51
    assert log.kinds == {kind: 1}
    assert log.first[0].startswith(f"{path}:51: {kind}")
    assert len(log.first[0]) < len(str(path)) + 110
    log.check(max_share=0.02)
    with pytest.raises(DataError, match=rf"1 of 52 lines.*{kind} 1.*\n.*a.tsv:51"):
        log.check(max_share=0.01)


def test_first_lines_are_escaped_and_only_five_are_kept(tmp_path: Path) -> None:
    _, log = read(write(tmp_path / "a.tsv", b"\x1b[31mred \xc3\xa9\n" * 8))
    assert log.count == 8 and len(log.first) == 5
    assert log.first[0].endswith(r"no tab: \x1b[31mred \xe9")


def test_a_huge_line_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\tb\n" + b"x" * 20_000_000 + b"\nc\td\n")
    tracemalloc.start()
    pairs, log = read(path, limit=64 * 1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs == [(("a",), "b"), (("c",), "d")]
    assert log.kinds == {"over-long line": 1}
    assert peak < 2_000_000


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(1, 8), st.booleans())
def test_line_file_agrees_with_split(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], limit: int, ends: bool
) -> None:
    lines = [b"text", *(p.translate(None, bytes((*range(32), 127))) for p in parts)]
    content = b"\n".join(lines) + (b"\n" if ends else b"")
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(content)
    expected = content.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    last_has_end = content.endswith(b"\n")
    numbers = []
    for number, line in LineFile(path, limit=limit):
        numbers.append(number)
        whole = expected[number - 1]
        ended = number < len(expected) or last_has_end
        size = len(whole) + ended
        # Without a line end, a line of exactly the limit cannot be told from a longer one.
        fits = size <= limit if ended else size < limit
        assert line == (whole if fits else None)
    assert numbers == list(range(1, len(expected) + 1))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"", "a.tsv: the file is empty"),
        ("a.tsv.gz", b"", "a.tsv.gz: the file is empty"),
        ("a.tsv", bytes(range(256)) * 40, "a.tsv: a binary file"),
        ("a.tsv", "hi\tyo\n".encode("utf-16"), "a.tsv: UTF-16 text: convert it to UTF-8"),
        ("a.tsv", "hi\tyo\n".encode("utf-16-le") * 50, "a.tsv: a binary file"),
        ("a.tsv", gzip.compress(b"hi\tyo\n"), r"a.tsv: holds gzip data: name it a.tsv.gz"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize("content", [b"no gzip at all\n", gzip.compress(b"a\tb\n" * 9999)[:-9]])
def test_damaged_gzip_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.gz: damaged gzip"):
        read(path)


def test_missing_files_folders_and_formats_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.tsv: no such file.*split train"):
        read(tmp_path / "none.tsv")
    with pytest.raises(DataError, match="is a folder, format tsv needs a file"):
        read(tmp_path)
    with pytest.raises(ValueError, match="format must be one of tsv, .*got 'csv'"):
        read(tmp_path, "csv")
    with pytest.raises(ValueError, match="context_turns must be at least 1, got 0"):
        read(write(tmp_path / "a.tsv", b"a\tb\n"), turns=0)


DIALOGUE = ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (1, [(("one",), "two"), (("two",), "three"), (("three",), "four")]),
        (2, [(("one",), "two"), (("one", "two"), "three"), (("two", "three"), "four")]),
        (9, [(("one",), "two"), (("one", "two"), "three"), (("one", "two", "three"), "four")]),
    ],
)
def test_context_window_in_every_dialogue_format(
    tmp_path: Path, turns: int, expected: list[Pair]
) -> None:
    rows = [DIALOGUE, {"turns": DIALOGUE, "topic": 3}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    jsonl = write(tmp_path / "a.jsonl", lines.encode())
    assert read(jsonl, "jsonl", turns=turns)[0] == expected * 2
    daily = write(tmp_path / "dialogues_train.txt", b" __eou__ ".join(map(str.encode, DIALOGUE)))
    assert read(daily, "dailydialog", turns=turns)[0] == expected
    with daily.open("a") as file:
        file.write(" __eou__\n")
    assert read(tmp_path, "dailydialog", turns=turns)[0] == expected
    make_cornell(tmp_path, "movie_conversation.txt")
    assert read(tmp_path, "cornell", turns=turns)[0] == expected
    make_topic(tmp_path / "topics")
    assert read(tmp_path, "smalltalk", turns=turns)[0][4:] == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("{", "bad JSON"),
        ("[" * 5000, "bad JSON"),
        ("3", "not a list of texts"),
        ('["a", 3]', "not a list of texts"),
        ('{"turn": ["a", "b"]}', "not a list of texts"),
        ('["a"]', "fewer than two turns"),
        ('["a", " "]', "empty side"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: str, kind: str) -> None:
    path = write(tmp_path / "a.jsonl", f'{line}\n["a", "b\\ud800"]\n'.encode())
    pairs, log = read(path, "jsonl", limit=10_000)
    assert pairs == [(("a",), "b\ud800")]
    assert log.kinds == {kind: 1}


def test_bad_dailydialog_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"alone __eou__\na __eou__ __eou__ b __eou__\na __eou__ b\n")
    pairs, log = read(path, "dailydialog")
    assert pairs == [(("a",), "b")]
    assert log.kinds == {"fewer than two turns": 1, "empty side": 1}
    with pytest.raises(DataError, match="neither dialogues_validation.txt nor validation/"):
        read(tmp_path, "dailydialog", split="valid")


def make_cornell(folder: Path, name: str = "movie_conversations.txt", *, repeats: int = 1) -> None:
    lines = [f"L{i} +++$+++ u0 +++$+++ m0 +++$+++ X +++$+++ {t}" for i, t in enumerate(DIALOGUE)]
    folder.joinpath("movie_lines.txt").write_text("\r\n".join(reversed(lines)) + "\r\n")
    row = "u0 +++$+++ u1 +++$+++ m0 +++$+++ ['L0', 'L1', 'L2', 'L3']\n"
    folder.joinpath(name).write_text(row * repeats)


def test_cornell_holds_out_every_tenth_and_twentieth(tmp_path: Path) -> None:
    make_cornell(tmp_path, repeats=40)
    sizes = {s: len(read(tmp_path, "cornell", split=s)[0]) for s in ("train", "valid", "test")}
    assert sizes == {"train": 36 * 3, "valid": 2 * 3, "test": 2 * 3}


def test_cornell_latin1_and_bad_rows(tmp_path: Path) -> None:
    make_cornell(tmp_path)
    with (tmp_path / "movie_lines.txt").open("ab") as file:
        file.write(b"L9 +++$+++ u0 +++$+++ m0 +++$+++ X +++$+++ caf\xe9\nL10 +++$+++ torn\n")
    with (tmp_path / "movie_conversations.txt").open("a") as file:
        for ids in ("['L0', 'L9']", "['L0', 'L77']", "['L0']", "__import__('os')"):
            file.write(f"u0 +++$+++ u1 +++$+++ m0 +++$+++ {ids}\n")
    pairs, log = read(tmp_path, "cornell")
    assert pairs[3:] == [(("one",), "café")]
    kinds = {"fewer than 5 fields": 1, "unknown line": 1, "fewer than two turns": 2}
    assert log.kinds == kinds
    (tmp_path / "movie_conversations.txt").unlink()
    with pytest.raises(DataError, match="no movie_conversations.txt or movie_conversation.txt"):
        read(tmp_path, "cornell")


def make_topic(folder: Path) -> dict[str, object]:
    folder.mkdir(exist_ok=True)
    topic: dict[str, object] = {
        "topic": "tea",
        "keywords": ["tea"],
        "messages": ["m1", "m2"],
        "valid_messages": ["v1"],
        "test_messages": ["t1"],
        "replies": ["r1", "r2"],
        "dialogues": [DIALOGUE],
    }
    (folder / "tea.json").write_text(json.dumps(topic))
    return topic


def test_smalltalk_splits(tmp_path: Path) -> None:
    make_topic(tmp_path)
    train, log = read(tmp_path, "smalltalk")
    both = [(("m1",), "r1"), (("m1",), "r2"), (("m2",), "r1"), (("m2",), "r2")]
    assert train[:4] == both and len(train) == 7 and log.read == 1
    valid, _ = read(tmp_path, "smalltalk", split="valid")
    assert valid == [(("v1",), "r1"), (("v1",), "r2")]
    assert len(read(tmp_path, "smalltalk", split="test")[0]) == 2
    with pytest.raises(ValueError, match="split must be train, valid or test"):
        read(tmp_path, "smalltalk", split="extra")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"replies": "r"}, "replies is not a list of texts"),
        ({"messages": [1]}, "messages is not a list of texts"),
        ({"dialogues": [["alone"]]}, "dialogues is not a list of lists of texts"),
    ],
)
def test_bad_topics(tmp_path: Path, changes: dict[str, object], kind: str) -> None:
    topic = make_topic(tmp_path)
    (tmp_path / "bad.json").write_text(json.dumps({**topic, **changes}))
    (tmp_path / "torn.json").write_text('{"topic"')
    pairs, log = read(tmp_path, "smalltalk")
    assert len(pairs) == 7
    assert log.kinds == {kind: 1, "bad JSON": 1}
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no topic files"):
        source_files(tmp_path / "none", format="smalltalk", split="train")


def test_progress_adds_up_to_the_files(tmp_path: Path) -> None:
    sizes = []
    path = write(tmp_path / "a.tsv.gz", b"hello\tthere\n" * 5000)
    pairs = read_pairs(
        path,
        format="tsv",
        split="train",
        context_turns=1,
        log=MalformedLog(),
        advance=sizes.append,
    )
    assert len(list(pairs)) == 5000
    assert sum(sizes) == path.stat().st_size
