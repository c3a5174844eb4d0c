"""A row's replies on disk: appended batch by batch, so that a kill costs one batch.

<name>.jsonl.part   while decoding: a line a message, in any order
<name>.jsonl        all of them
<name>.json         numbers of the whole; written last, so that its presence means complete
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvs2s.answer import AdmittedWords, Answer, Reply
from dvs2s.errors import DataError

_NO_WORDS = AdmittedWords((), 0)


class ReplyFile:
    """The replies to messages 0 .. N-1 under one name.

    Args:
        path: without ending; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self._whole = path.with_name(f"{path.name}.jsonl")
        self._part = path.with_name(f"{path.name}.jsonl.part")
        self._summary = path.with_name(f"{path.name}.json")

    @property
    def is_complete(self) -> bool:
        """Whether every message has its reply and the numbers are there."""
        return self._summary.exists()

    def done(self) -> set[int]:
        """Returns the messages that have their replies; a line that a kill tore is cut off."""
        if self._whole.exists():
            return {place for place, _ in _lines(self._whole.read_bytes(), self._whole)}
        if not self._part.exists():
            return set()
        content = self._part.read_bytes()
        sound = content[: content.rfind(b"\n") + 1]
        if len(sound) < len(content):
            os.truncate(self._part, len(sound))
        return {place for place, _ in _lines(sound, self._part)}

    def append(self, places: Sequence[int], answers: Sequence[Answer]) -> None:
        """Adds the answers to some messages and waits until the disk has them."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        with self._part.open("ab") as file:
            for place, answer in zip(places, answers, strict=True):
                replies = [[*_plain(reply)] for reply in answer.replies]
                line = json.dumps({"place": place, "replies": replies}, ensure_ascii=False)
                file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, metrics: dict[str, float]) -> None:
        """Declares the file complete.

        Args:
            metrics: numbers that belong to it.
        """
        if self._part.exists():
            os.replace(self._part, self._whole)
        partial = self._summary.with_name(f"{self._summary.name}.part")
        partial.write_text(json.dumps({"metrics": metrics}, allow_nan=False), encoding="utf-8")
        os.replace(partial, self._summary)

    def metrics(self) -> dict[str, float]:
        """Returns the numbers that ``finish`` was given.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            metrics = json.loads(self._summary.read_bytes())["metrics"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self._summary}: damaged ({error}): remove it") from error
        return {str(name): float(value) for name, value in metrics.items()}

    def answers(self) -> list[Answer]:
        """Returns the answers of a complete file in the messages' order, T left out.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            content = self._whole.read_bytes()
        except OSError as error:
            raise DataError(f"{self._whole}: cannot read it: {error.strerror}") from error
        found = dict(_lines(content, self._whole))
        if sorted(found) != list(range(len(found))):
            raise DataError(f"{self._whole}: messages are missing: remove it")
        return [Answer(tuple(found[place]), _NO_WORDS) for place in range(len(found))]


def _plain(reply: Reply) -> tuple[Any, ...]:
    return reply.text, list(reply.tokens), reply.score, reply.log_prob, reply.finished


def _lines(content: bytes, path: Path) -> list[tuple[int, list[Reply]]]:
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = json.loads(line)
            replies = [Reply(t, tuple(w), s, p, f) for t, w, s, p, f in row["replies"]]
            found.append((int(row["place"]), replies))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: damaged ({error}): remove the file") from error
    return found
