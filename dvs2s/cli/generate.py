"""One reply a line: ``python -m dvs2s.cli.generate input=messages.txt output=replies.txt``.

A line of input is a message; turns of a conversation are separated by tabs, newest last. The
output has exactly one line for each line of input.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import IO

from tqdm import tqdm

from dvs2s.answer import Answer
from dvs2s.cli.configs import GenerateConfig
from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.cli.runtime import open_responder
from dvs2s.cli.voice import Voice
from dvs2s.errors import DataError


def main(config: GenerateConfig) -> None:
    """Answers every line of ``input``."""
    responder = open_responder(config)
    voice = Voice(responder, config)
    several = voice.search.num_best > 1
    as_json = config.format == "jsonl" or (config.format == "auto" and several)
    with _open_input(config.input) as lines, open_output("output", config.output) as out:
        bar = tqdm(unit=" messages", file=sys.stderr, disable=None)
        done = 0
        for batch in _batches(lines, config.batch_size):
            # a line's seed is its number, so that equal lines get samples of their own
            seeds = range(done, done + len(batch))
            for answer in voice.answers(batch, input_seeds=seeds):
                print(_json(answer) if as_json else _line(answer), file=out)
            out.flush()
            done += len(batch)
            bar.update(len(batch))
        bar.close()


def _batches(lines: Iterable[bytes], size: int) -> Iterator[list[list[str]]]:
    messages = (_turns(line) for line in lines)
    while batch := list(islice(messages, size)):
        yield batch


def _turns(line: bytes) -> list[str]:
    return line.decode("utf-8", errors="replace").rstrip("\r\n").split("\t")


def _line(answer: Answer) -> str:
    """Returns the best reply on one line, whatever its words are."""
    return " ".join(answer.text.split())


def _json(answer: Answer) -> str:
    replies = [asdict(reply) for reply in answer.replies]
    return json.dumps({"replies": replies, "num_words": len(answer.vocabulary)}, ensure_ascii=False)


@contextmanager
def _open_input(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")
    except OSError as error:
        raise DataError(f"cannot read input={name}: {error.strerror}") from error
    with file:
        yield file


if __name__ == "__main__":
    run("generate", GenerateConfig, main)
