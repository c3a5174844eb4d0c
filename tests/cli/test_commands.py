"""prepare, train, evaluate, generate and chat, one after the other, on good and bad input."""

import errno
import json
import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, Compose

from dvs2s.build import prepared_data
from dvs2s.cli.output import open_output
from dvs2s.data.synthetic import make_task, write_tsv
from dvs2s.errors import DataError
from dvs2s.responder import Responder
from dvs2s.scoring import score

MESSAGES = b"".join(
    [
        b"do you have any mubade?\n",
        b"\n",
        b"   \t \n",
        b"zebra xylophone\r\n",
        b"what about the mubaba?\thello\tis this your mubabo?\n",
        b"\xff\xfe\x80 the \xc3(\n",
        b"nul \x00 and \x0b \x0c \x1b[31m\n",
        "one\u2028line\u0085only\n".encode(),
        b"the mubaba " * 100_000 + b"\n",  # 1 MB
        b"no line feed at the end",
    ]
)
LINES = 10


def test_one_command_after_the_other(
    command: Command, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    data = [o for o in tiny if o.startswith("data") and "prepared" not in o]
    data.append(f"data.prepared={tmp_path}/prepared")
    prepared = command("prepare", *data)
    assert prepared.code == 0 and "preparing mydata in" in prepared.err
    assert "57, of which 29 special and function words; they cover 100.00%" in prepared.out
    assert "train      250 pairs" in prepared.out and "test       24 pairs" in prepared.out
    manifest = tmp_path / "prepared" / "manifest.json"
    made = manifest.stat().st_mtime_ns
    again = command("prepare", *data)
    assert (again.out, "preparing" in again.err) == (prepared.out, False)
    assert manifest.stat().st_mtime_ns == made
    assert command("prepare", *data, "force=true").code == 0
    assert manifest.stat().st_mtime_ns > made

    run = f"{tmp_path}/run"
    short = ("trainer.max_updates=6", "trainer.log_every=2", f"trainer.run={run}")
    trained = command("train", *tiny, *data, *short)
    assert trained.code == 0 and f"training in {run}: " in trained.err
    assert "57 words, 250 pairs" in trained.err and "preparing" not in trained.err

    report, replies = tmp_path / "new" / "report.json", tmp_path / "replies.jsonl"
    files = (f"out={report}", f"replies={replies}")
    evaluated = command("evaluate", f"checkpoint={run}", "search=greedy", *files)
    assert evaluated.code == 0
    metrics = json.loads(report.read_bytes())["metrics"]
    for name in ("perplexity over V", "T token recall", "BLEU-4", "distinct-1 (per token)"):
        assert any(line.startswith(name) for line in evaluated.out.splitlines()) and name in metrics
    assert "greedy, |T| = 40" in evaluated.out
    rows = [json.loads(line) for line in replies.read_text().splitlines()]
    assert len(rows) == json.loads(report.read_bytes())["num_replies"]
    assert sum(len(row["references"]) for row in rows) == 24
    assert all(row["reply"] for row in rows)

    generated = command("generate", f"checkpoint={run}", stdin=MESSAGES)
    assert generated.code == 0 and generated.out.count("\n") == LINES
    chatted = command("chat", f"checkpoint={run}", stdin=b"is this your mubabo?\n")
    assert chatted.out == generated.out.splitlines()[4] + "\n"


def test_generate_writes_one_line_for_each_line(
    command: Command, run_dir: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes(MESSAGES)
    files = (f"checkpoint={run_dir}", f"input={source}", f"output={target}")
    assert command("generate", *files).code == 0
    lines = target.read_bytes().split(b"\n")
    assert len(lines) == LINES + 1 and lines[-1] == b"" and all(lines[:-1])
    piped = command("generate", f"checkpoint={run_dir}", "batch_size=3", stdin=MESSAGES)
    assert piped.out.encode() == target.read_bytes()

    assert command("generate", *files, "search.num_best=3").code == 0
    rows = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert len(rows) == LINES
    for row, best in zip(rows, lines, strict=False):
        scores = [reply["score"] for reply in row["replies"]]
        assert 1 <= len(scores) <= 3 and scores == sorted(scores, reverse=True)
        assert row["replies"][0]["text"] == best.decode()
    assert max(len(row["replies"]) for row in rows) == 3
    as_text = command("generate", *files[:2], "search.num_best=3", "format=text")
    assert as_text.out.encode() == b"\n".join(lines)
    assert command("generate", f"checkpoint={run_dir}", stdin=b"").out == ""


def test_generate_leaves_a_whole_file_or_the_old_one(
    command: Command, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, calls = Responder.answers, iter(range(9))

    def failing(self: Responder, messages: Sequence[Any], *rest: Any, **named: Any) -> Any:
        if next(calls) == 2:
            raise DataError("the third batch is bad")
        return answers(self, messages, *rest, **named)

    monkeypatch.setattr(Responder, "answers", failing)
    target = tmp_path / "out.txt"
    target.write_text("old")
    options = (f"checkpoint={run_dir}", f"output={target}", "batch_size=2")
    ran = command("generate", *options, stdin=MESSAGES)
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "error: the third batch is bad")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "option", "reason"),
    [
        ("generate", "input={tmp}/nowhere", "cannot read input={tmp}/nowhere: No such file"),
        ("generate", "input={tmp}", "cannot read input={tmp}: Is a directory"),
        ("generate", "output=/dev/null/x", "cannot write output=/dev/null/x: "),
        ("generate", "output={tmp}", "cannot write output={tmp}: it is a folder"),
        ("generate", "checkpoint={tmp}", "no best checkpoint in {tmp}: the folder is empty"),
        ("generate", "search.size=3", "size must be at least the 29 special and function words"),
        ("chat", "search.num_best=0", "num_best must be at least 1, got 0"),
        ("chat", "device=tpu", "device must be cpu, cuda or cuda:N, got 'tpu'"),
        ("evaluate", "limit=-1", "limit must be at least 0 (all pairs), got -1"),
        ("evaluate", "out={tmp}", "cannot write out={tmp}: it is a folder"),
        ("prepare", "data.root={tmp}", "{tmp}/train.tsv"),
        ("train", "modle=small", "there is no option 'modle': did you mean 'model'?"),
        ("train", "experiment=papre", "there is no experiment=papre: did you mean 'paper'? (there"),
        ("train", "optim.lr=fast", "optim.lr=fast: Value 'fast' of type 'str' could not be conv"),
        ("train", "trainer.seed", "'trainer.seed' sets nothing: write trainer.seed=VALUE"),
        ("chat", "forbid=no", "forbid=no: Invalid value assigned: str is not a ListConfig"),
    ],
)
def test_a_mistake_is_explained_in_one_line(
    command: Command, run_dir: Path, tmp_path: Path, name: str, option: str, reason: str
) -> None:
    arguments = {"prepare": ["data=tsv", f"data.prepared={tmp_path}/prepared"], "train": []}.get(
        name, [f"checkpoint={run_dir}"]
    )
    ran = command(name, *arguments, option.format(tmp=tmp_path), stdin=b"hello\n")
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert ran.code == 2 and len(errors) == 1 and ran.err.endswith(errors[0] + "\n")
    assert reason.format(tmp=tmp_path) in errors[0]
    left = {path.name for path in tmp_path.iterdir()} - {".prepared.lock"}
    assert "Traceback" not in ran.err and not left


def test_chat_in_a_pipe(command: Command, run_dir: Path, bot: Responder) -> None:
    said = "do you have any mubade?"
    lines = ["/words", "/best", "", said, "   ", "/words", "/best 2", "/best 0", "/best 101"]
    lines += ["/best x", "/dance", "/new", "/best", "zebra", "\udcff", "/quit", "never read"]
    stdin = "\n".join(lines).encode("utf-8", "surrogateescape")
    ran = command("chat", f"checkpoint={run_dir}", stdin=stdin)
    assert ran.code == 0 and "Traceback" not in ran.err
    answer = bot.reply(said, num_best=2)
    out = iter(ran.out.splitlines())
    assert [next(out), next(out)] == ["say something first"] * 2
    assert next(out) == answer.text
    shown = next(out).removeprefix("content words: ")
    assert shown == " ".join(f"{w.word} {w.beta:.2f}" for w in answer.vocabulary.content)
    assert next(out) == "function words: " + " ".join(w.word for w in answer.vocabulary.function)
    for reply in answer.replies:
        assert next(out) == f"{reply.score:8.3f}  {reply.text}"
    wrong = "/best takes a number of replies up to 100, such as /best 5"
    assert [next(out) for _ in range(3)] == [wrong] * 3
    assert next(out) == "there is no command /dance"
    helped = [next(out)[:4] for _ in range(5)]
    assert helped == ["/wor", "/bes", "/for", "/new", "/qui"]
    assert [next(out), next(out)] == ["a new conversation", "say something first"]
    assert [next(out), next(out)] == [bot.reply("zebra").text, bot.reply("\ufffd").text]
    assert list(out) == []


def test_evaluation_equals_a_slow_computation(
    bot: Responder, compose: Compose, tiny: tuple[str, ...]
) -> None:
    data = prepared_data(compose("train", *tiny).data, progress=False)
    search = bot.search_config(size=31, kind="greedy")
    both = [score(bot, data, split="test", search=search, batch_size=size) for size in (1, 7)]
    scored = [one.report.metrics for one in both]
    for name, value in scored[0].items():
        if name != "ms per reply":
            assert scored[1][name] == pytest.approx(value, abs=1e-4), name
    for message, reply in zip(both[0].messages, both[0].replies, strict=True):
        assert tuple(reply) == bot.reply(message, size=31, kind="greedy").replies[0].tokens

    corpus = data.split("test")
    nats, inside_nats, words, inside, content, hits = 0.0, 0.0, 0, 0, 0, 0
    for i in range(len(corpus)):
        ids = corpus.message(i).tolist()
        answer = bot.reply(" ".join(bot.vocabulary.decode(ids)), size=31, kind="greedy")
        admitted = {*range(5), *(bot.vocabulary.id(word.word) for word in answer.vocabulary)}
        response = torch.tensor([[*corpus.response(i).tolist(), 3]])
        with torch.inference_mode():
            encoded = bot.model.encode(torch.tensor([ids]), torch.tensor([len(ids)]))
            logits = bot.model.output.projection(bot.model.unroll(encoded, response))[0]
        outside = [w for w in range(len(bot.vocabulary)) if w not in admitted]
        over_t = logits.clone().index_fill_(1, torch.tensor(outside), -math.inf)
        for place, gold in enumerate(response[0].tolist()):
            words, nats = words + 1, nats - float(logits[place].log_softmax(-1)[gold])
            if gold in admitted:
                inside += 1
                inside_nats -= float(over_t[place].log_softmax(-1)[gold])
            if gold >= bot.vocabulary.num_fixed:
                content, hits = content + 1, hits + (gold in admitted)
    expected = {
        "perplexity over V": math.exp(nats / words),
        "perplexity over T, of words in T": math.exp(inside_nats / inside),
        "T content recall": hits / content,
        "mean |T|": 31.0,
    }
    assert 0 < hits < content
    actual = {name: scored[0][name] for name in expected}
    assert actual == pytest.approx(expected, rel=1e-4)


def test_evaluation_refuses_a_corpus_of_another_vocabulary(
    bot: Responder, compose: Compose, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    write_tsv(tmp_path / "train.tsv", make_task(50, num_topics=2).pairs)
    here = (f"data.root={tmp_path}", f"data.prepared={tmp_path}/prepared", "data.valid=[]")
    other = prepared_data(compose("train", *tiny, *here, "data.test=[]").data, progress=False)
    with pytest.raises(DataError, match="prepared with another vocabulary"):
        score(bot, other, split="train", search=bot.search_config())


def test_a_full_disk_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "replies.txt"
    with pytest.raises(DataError, match="cannot write output=.*No space left on device"):
        with open_output("output", str(target)) as file:
            file.write("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # the flush at the end fails in the file's own exit
    with pytest.raises(DataError, match="No space left"):
        with open_output("output", "/dev/full") as file:
            file.write("x")
    assert not list(tmp_path.iterdir()) and stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_pipe_or_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with open_output("output", str(pipe)) as file:
            file.write("through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_help_says_what_a_command_does_and_its_own_groups_only(command: Command) -> None:
    ran = command("lens", "--help", "search.size=77")
    assert ran.code == 0 and ran.err == ""
    assert ran.out.startswith("Which words of a message brought each admitted word in")
    assert "search: beam," in ran.out and "objective" not in ran.out and "size: 77" in ran.out
    assert "docs/data.md" in ran.out
