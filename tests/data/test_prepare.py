"""Preparing a corpus: contents, laws, bad input, and what interruptions leave."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dvs2s.data import tokenise
from dvs2s.data.corpus import PreparedData
from dvs2s.data.manifest import Manifest
from dvs2s.data.options import PrepareOptions
from dvs2s.data.prepare import is_current, prepare
from dvs2s.data.readers import source_files
from dvs2s.data.synthetic import make_task, write_tsv
from dvs2s.data.tokenise import WordCounter
from dvs2s.errors import DataError
from dvs2s.text.specials import SEP, SPECIALS, UNK

OPTIONS = PrepareOptions(tokenizer="whitespace", function_words="rank:1", workers=1)
Lines = list[tuple[str, str]]


def source(tmp_path: Path, pairs: Lines, name: str = "train") -> Path:
    path = tmp_path / f"{name}.tsv"
    write_tsv(path, tuple(pairs))
    return path


def run(tmp_path: Path, options: PrepareOptions = OPTIONS, **splits: Lines) -> PreparedData:
    sources = {name: [source(tmp_path, pairs, name)] for name, pairs in splits.items()}
    prepare(sources, tmp_path / "out", options=options, progress=False)
    return PreparedData.open(tmp_path / "out")


def texts(data: PreparedData, split: str = "train") -> Lines:
    corpus, decode = data.split(split), data.vocabulary.decode
    return [
        (" ".join(decode(corpus.message(i))), " ".join(decode(corpus.response(i))))
        for i in range(len(corpus))
    ]


words = st.lists(st.sampled_from("a b c d e f".split()), min_size=1, max_size=6).map(" ".join)
pair_lists = st.lists(st.tuples(words, words), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(train=pair_lists, valid=pair_lists, longest=st.integers(1, 6))
def test_prepared_data_equals_a_plain_computation(
    tmp_path: Path, train: Lines, valid: Lines, longest: int
) -> None:
    options = replace(OPTIONS, max_message_tokens=longest, max_response_tokens=longest)
    kept = [pair for pair in train if pair not in valid]
    if not kept:
        with pytest.raises(DataError, match=f"{len(train)} pairs dropped as duplicates"):
            run(tmp_path, options, train=train, valid=valid)
        return
    data = run(tmp_path, options, train=train, valid=valid)
    cut = [(m.split()[-longest:], r.split()[:longest]) for m, r in kept]
    assert texts(data) == [(" ".join(m), " ".join(r)) for m, r in cut]

    counts = Counter(word for m, r in cut for word in m + r)
    vocabulary = data.vocabulary
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert vocabulary.words == (*SPECIALS, *(word for word, _ in ordered))
    assert vocabulary.num_fixed == len(SPECIALS) + 1
    assert vocabulary.total_tokens == counts.total()
    for word in vocabulary.words[len(SPECIALS) :]:
        assert data.response_counts[vocabulary.id(word)] == sum(word in r for _, r in cut)

    known = set(counts)
    shown = [
        tuple(" ".join(w if w in known else "<unk>" for w in side) for side in pair)
        for pair in ((m.split()[-longest:], r.split()[:longest]) for m, r in valid)
    ]
    assert texts(data, "valid") == shown
    split, numbers = data.split("valid"), data.manifest.splits["valid"]
    unknown = sum(s.split().count("<unk>") for pair in shown for s in pair)
    assert numbers.unknown_message_tokens + numbers.unknown_response_tokens == unknown
    assert split.message_lengths.sum() == numbers.message_tokens
    assert data.manifest.splits["train"].duplicates_dropped == len(train) - len(kept)


def test_context_turns_are_joined_and_cut_from_the_left(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('["a b", "c", "d e f", "g"]\n')
    options = replace(OPTIONS, format="jsonl", context_turns=3, max_message_tokens=5)
    prepare({"train": [path]}, tmp_path / "out", options=options, progress=False)
    data = PreparedData.open(tmp_path / "out")
    expected = [("a b", "c"), ("a b <sep> c", "d e f"), ("c <sep> d e f", "g")]
    assert texts(data) == expected
    assert data.vocabulary.total_tokens == 14 and SEP in data.split("train").message(1)
    numbers = data.manifest.splits["train"]
    assert (numbers.truncated_messages, numbers.message_tokens) == (1, 11)


def test_special_strings_in_the_corpus_become_unknown(tmp_path: Path) -> None:
    data = run(tmp_path, train=[("</s> <sep> hi <pad>", "<s> yo <unk>")])
    assert data.split("train").message(0).tolist()[:2] == [UNK, UNK]
    assert texts(data) == [("<unk> <unk> hi <unk>", "<unk> yo <unk>")]


def test_all_unknown_and_one_pair(tmp_path: Path) -> None:
    data = run(tmp_path, train=[("a", "b")], valid=[("x y", "z")])
    assert texts(data, "valid") == [("<unk> <unk>", "<unk>")]
    assert len(data.split("train")) == 1


def test_pairs_without_tokens_are_dropped_and_counted(tmp_path: Path) -> None:
    options = replace(OPTIONS, tokenizer="basic_english")
    data = run(tmp_path, options, train=[('""', "b"), ("a", ";;"), ("a", "b")])
    assert texts(data) == [("a", "b")]
    assert data.manifest.splits["train"].without_tokens_dropped == 2


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_any_number_of_workers_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenise, "_LEAST_BYTES_FOR_WORKERS", 0)
    monkeypatch.setattr(tokenise, "_CHUNK_PAIRS", 70)
    task = make_task(1000, seed=1)
    train, valid = source(tmp_path, list(task.pairs)), source(tmp_path, list(task.pairs[:50]), "v")
    results = []
    for workers in (1, 2, 3):
        options = replace(OPTIONS, workers=workers, tokenizer="basic_english")
        out = tmp_path / "out"
        prepare({"train": [train], "valid": [valid]}, out, options=options, progress=False)
        results.append(folder_bytes(out))
    assert results[0] == results[1] == results[2]
    assert Manifest.load(tmp_path / "out").splits["train"].duplicates_dropped > 50


def test_a_worker_that_dies_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "_LEAST_BYTES_FOR_WORKERS", 0)
    parent = os.getpid()

    def die(self: object, pairs: object) -> None:
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(tokenise.TokeniseChunk, "__call__", die)
    with pytest.raises(DataError, match=r"worker process died \(exit code -9\)"):
        run(tmp_path, replace(OPTIONS, workers=2), train=[("a", "b")])
    assert [p.name for p in tmp_path.iterdir()] == ["train.tsv"]


def test_word_counter_forgets_the_rarest() -> None:
    counter = WordCounter(most=3)
    counter.update(Counter(a=5, b=3, c=2, d=2, e=1))
    assert (counter.counts, counter.total, counter.pruned) == ({"a": 5, "b": 3}, 13, 3)


def test_synthetic_task_is_what_it_says(tmp_path: Path) -> None:
    task = make_task(300)
    assert make_task(300) == task and make_task(300, seed=1) != task
    data = run(tmp_path, PrepareOptions(), train=list(task.pairs))
    vocabulary = data.vocabulary
    content = set(vocabulary.words[vocabulary.num_fixed :])
    assert content == set(task.right_words) | {w for ws in task.right_words.values() for w in ws}
    for message, response in texts(data):
        (topic,) = set(message.split()) & content
        assert set(response.split()) & content == set(task.right_words[topic])


# Bad input


def test_missing_empty_and_binary_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    for content, message in (
        (None, "train.tsv: no such file"),
        (b"", "train.tsv: the file is empty"),
        (bytes(range(256)), "train.tsv: a binary file"),
        (b"no tab\n", "1 of 1 lines are malformed.*no tab 1"),
        (b"\n\n", "split train has no pair left: 0 lines read.*2 blank"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            prepare({"train": [path]}, tmp_path / "out", options=OPTIONS, progress=False)
        assert not list(tmp_path.glob("out*"))


def test_a_missing_file_whose_packed_twin_is_there_is_answered_with_it(tmp_path: Path) -> None:
    (tmp_path / "train.tsv.gz").touch()
    (tmp_path / "valid.tsv").touch()
    for name, split, twin in (
        ("train.tsv", "train", "train.tsv.gz"),
        ("valid.tsv.gz", "valid", "valid.tsv"),
    ):
        with pytest.raises(DataError, match=rf"set data\.{split}=\[{twin}\]"):
            source_files(tmp_path / name, format="tsv", split=split)


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, valid = tmp_path / "train.tsv", tmp_path / "valid.tsv"
    train.write_bytes(b"a\tb\n" * 3 + b"no tab\n" + b"c\td\n")
    valid.write_bytes(b"c\td\n")
    options = replace(OPTIONS, max_malformed_share=0.5)
    sources = {"train": [train], "valid": [valid]}
    with caplog.at_level("WARNING", logger="dvs2s"):
        manifest = prepare(sources, tmp_path / "out", options=options, progress=False)
    left_out = manifest.splits["train"].left_out()
    assert left_out == "1 malformed (no tab 1), 1 held by another split"
    assert manifest.splits["valid"].left_out() == ""
    assert [r.getMessage() for r in caplog.records] == [
        f"train: left out {left_out}",
        f"  {train}:4: no tab: no tab",
    ]


def test_only_a_small_share_may_be_malformed(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_bytes(b"a\tb\n" * 99 + b"a\xff\tb\n")
    prepare({"train": [path]}, tmp_path / "out", options=OPTIONS, progress=False)
    assert Manifest.load(tmp_path / "out").splits["train"].malformed == {"invalid UTF-8": 1}
    with pytest.raises(DataError, match="raise data.max_malformed_share"):
        options = replace(OPTIONS, max_malformed_share=0.009)
        prepare({"train": [path]}, tmp_path / "out", options=options, progress=False)


def test_too_high_a_min_count_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no word occurs min_count=3 times"):
        run(tmp_path, replace(OPTIONS, min_count=3), train=[("a", "b")])


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "must name files for 'train'"),
        ({"valid": [Path("x")]}, "must name files for 'train'"),
        ({"train": [Path("x")], "../x": [Path("x")]}, "a split's name"),
        ({"train": Path("x")}, "must be a list"),
    ],
)
def test_bad_splits_are_refused(
    tmp_path: Path, sources: dict[str, list[Path]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(sources, tmp_path / "out", options=OPTIONS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "csv"),
        ("tokenizer", "bpe"),
        ("context_turns", 0),
        ("vocabulary_size", 0),
        ("min_count", 0),
        ("min_count", 1.5),
        ("function_words", "nouns"),
        ("max_message_tokens", 0),
        ("max_response_tokens", -1),
        ("max_malformed_share", 1.1),
        ("max_line_bytes", 0),
        ("workers", -1),
    ],
)
def test_options_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*got {value!r}"):
        replace(OPTIONS, **{name: value})


# The folder


def test_is_current(tmp_path: Path) -> None:
    out, sources = tmp_path / "out", {"train": [source(tmp_path, [("a", "b"), ("c", "d")])]}
    assert not is_current(out, sources, OPTIONS)
    fingerprint = prepare(sources, out, options=OPTIONS, progress=False).fingerprint
    assert is_current(out, sources, OPTIONS)
    assert is_current(out, sources, replace(OPTIONS, workers=3))
    assert not is_current(out, sources, replace(OPTIONS, min_count=2))
    assert not is_current(out, {**sources, "valid": sources["train"]}, OPTIONS)
    os.utime(sources["train"][0], ns=(1, 1))
    assert is_current(out, sources, OPTIONS), "same bytes, other time"
    source(tmp_path, [("a", "b"), ("c", "e")])
    assert not is_current(out, sources, OPTIONS), "same size, other bytes"
    assert prepare(sources, out, options=OPTIONS, progress=False).fingerprint != fingerprint
    (out / "vocabulary.json").write_text("{")
    assert not is_current(out, sources, OPTIONS)
    sources["train"][0].unlink()
    assert not is_current(out, sources, OPTIONS)


def test_a_changed_word_list_is_noticed(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\n")
    options = replace(OPTIONS, function_words=f"list:{words}")
    data = run(tmp_path, options, train=[("a", "b")])
    sources = {"train": [tmp_path / "train.tsv"]}
    assert data.vocabulary.word(5) == "a" and is_current(tmp_path / "out", sources, options)
    words.write_text("b\n")
    assert not is_current(tmp_path / "out", sources, options)


@pytest.mark.parametrize(
    "name", ["train.tokens.i32", "train.offsets.i64", "response_counts.i64", "manifest.json"]
)
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b""])
def test_damaged_files_are_refused_by_name(tmp_path: Path, name: str, change: object) -> None:
    data = run(tmp_path, train=[("a", "b")])
    path = data.folder / name
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=name):
        PreparedData.open(data.folder)
    path.unlink()
    with pytest.raises(DataError, match=name):
        PreparedData.open(data.folder)


def test_wrong_offsets_and_vocabularies_are_refused(tmp_path: Path) -> None:
    data = run(tmp_path, train=[("a", "b")])
    with pytest.raises(IndexError, match="pair number must be 0 to 0, got 1"):
        data.split("train").message(1)
    np.array([0, 3, 2], dtype="<i8").tofile(data.folder / "train.offsets.i64")
    with pytest.raises(DataError, match="train.offsets.i64: damaged"):
        PreparedData.open(data.folder).split("train")
    with pytest.raises(ValueError, match="split must be one of train, got 'valid'"):
        data.split("valid")
    replace(data.vocabulary, tokenizer="char").save(data.folder / "vocabulary.json")
    with pytest.raises(DataError, match="vocabulary.json belongs to other data"):
        PreparedData.open(data.folder)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_reads_the_same(tmp_path: Path) -> None:
    corpus = run(tmp_path, train=[("a b", "c")]).split("train")
    child = os.fork()
    if child == 0:
        os._exit(corpus.message(0).tolist() != [5, 6])
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(ValueError, match="read-only"):
        corpus.message(0)[0] = 9


def test_failure_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder_bytes(run(tmp_path, train=[("a", "b")]).folder)
    real = os.rename

    def fail_once(old: Path, new: Path) -> None:
        if ".tmp-" in str(old):
            raise OSError(28, "No space left on device")
        real(old, new)

    monkeypatch.setattr("os.rename", fail_once)
    with pytest.raises(DataError, match="the disk is full"):
        run(tmp_path, train=[("c", "d")])
    assert folder_bytes(tmp_path / "out") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "train.tsv"]


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="exists and is no prepared folder"):
        run(tmp_path, train=[("a", "b")])
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_leftovers_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    before = folder_bytes(run(tmp_path, train=[("a", "b")]).folder)
    (tmp_path / "out").rename(tmp_path / f"out.old-{dead.pid}")
    (tmp_path / f"out.tmp-{dead.pid}").mkdir()
    (tmp_path / f"out.tmp-{os.getppid()}").mkdir()
    with pytest.raises(DataError, match="empty"):
        (tmp_path / "train.tsv").write_bytes(b"")
        prepare({"train": [tmp_path / "train.tsv"]}, tmp_path / "out", options=OPTIONS)
    assert folder_bytes(tmp_path / "out") == before, "the old folder is put back"
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["out", f"out.tmp-{os.getppid()}", "train.tsv"], "that of a live one stays"


CHILD = """
import sys
from pathlib import Path
from dvs2s.data import tokenise
from dvs2s.data.options import PrepareOptions
from dvs2s.data.prepare import prepare
tokenise._LEAST_BYTES_FOR_WORKERS = 0
tokenise._CHUNK_PAIRS = 200
folder = Path(sys.argv[1])
options = PrepareOptions(workers=2)
prepare({"train": [folder / "train.tsv"]}, folder / "out", options=options, progress=False)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_prepare_leaves_the_old_folder_and_no_process(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = folder_bytes(run(tmp_path, train=[("a", "b")]).folder)
    source(tmp_path, list(make_task(300).pairs) * 100)
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    temporary = tmp_path / f"out.tmp-{child.pid}" / "train.spill"
    deadline = time.monotonic() + 60
    while not (temporary.exists() and temporary.stat().st_size) and time.monotonic() < deadline:
        assert child.poll() is None, child.stderr and child.stderr.read()
        time.sleep(0.005)
    workers = children_of(child.pid)
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode in {signal.SIGTERM: (143,), signal.SIGINT: (-2, 130)}.get(number, (-9,))
    assert folder_bytes(tmp_path / "out") == before
    if number != signal.SIGKILL:
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "train.tsv"]
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(is_running(pid) for pid in workers)
    if number == signal.SIGKILL:
        assert subprocess.run(command).returncode == 0
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "train.tsv"]
        assert len(PreparedData.open(tmp_path / "out").split("train")) == 30_000


def children_of(process: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(process).children()]


def is_running(process: int) -> bool:
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
