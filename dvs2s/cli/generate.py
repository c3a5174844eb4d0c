"""One reply a line: ``python -m dvs2s.cli.generate input=messages.txt output=replies.txt``.

A line of input is a message; turns of a conversation are separated by tabs, newest last. The
output has exactly one line for each line of input.
"""

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
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
from dvs2s.parallel.group import Group, open_group, own_device

logger = logging.getLogger("dvs2s")


def main(config: GenerateConfig) -> None:
    """Answers every line of ``input``; several workers answer whole batches in turn."""
    config.device = own_device(config.device)
    with open_group(config.device) as group, ExitStack() as files:
        if not group.is_first:
            logger.setLevel(logging.WARNING)
        responder = open_responder(config)
        voice = Voice(responder, config)
        several = voice.search.num_best > 1
        as_json = config.format == "jsonl" or (config.format == "auto" and several)
        lines: Iterable[bytes] = ()
        out: IO[str] | None = None
        if group.is_first:
            lines = files.enter_context(_open_input(config.input))
            out = files.enter_context(open_output("output", config.output))
        bar = tqdm(unit=" messages", file=sys.stderr, disable=None if out else True)
        for first, batch in _shares(lines, config.batch_size, group):
            # a line's seed is its number, so that equal lines get samples of their own
            seeds = range(first, first + len(batch))
            answers = voice.answers(batch, input_seeds=seeds) if batch else []
            texts = [_json(answer) if as_json else _line(answer) for answer in answers]
            for share in group.gather(texts):
                bar.update(len(share))
                if out:
                    out.writelines(f"{text}\n" for text in share)
            if out:
                out.flush()
        bar.close()


def _shares(
    lines: Iterable[bytes], size: int, group: Group
) -> Iterator[tuple[int, list[list[str]]]]:
    """Yields this worker's batch of each round and the number of its first line.

    The first worker reads for all, so that a pipe will do. The batches are those of one worker; in
    the last round some may be empty.
    """
    batches, done = _batches(lines, size), 0
    while found := group.told(list(islice(batches, group.size))):
        starts = [done + sum(map(len, found[:i])) for i in range(len(found) + 1)]
        own = found[group.rank] if group.rank < len(found) else []
        yield starts[min(group.rank, len(found))], own
        done = starts[-1]


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
