"""The embedded small-talk corpus: a folder of topic files, each a JSON object.

Every reply of a topic answers every message of it, so a split is messages times replies; the
training split also has the neighbouring turns of the topic's dialogues.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dvs2s.data.lines import check_text
from dvs2s.data.malformed import MalformedLog
from dvs2s.data.turns import Pair, bad_turns, pairs_of_dialogue
from dvs2s.errors import DataError

_MESSAGES = {"train": "messages", "valid": "valid_messages", "test": "test_messages"}
_MAX_FILE_BYTES = 16 * 1024 * 1024


def find_files(path: Path) -> list[Path]:
    """Returns the topic files, sorted by name: of the folder, or of its subfolder `topics`.

    Raises:
        DataError: there are none.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.json")) or sorted((path / "topics").glob("*.json"))
    if not files:
        raise DataError(f"{path}: no topic files (*.json) in it or in its subfolder topics")
    return files


def read(
    files: Sequence[Path],
    split: str,
    context_turns: int,
    log: MalformedLog,
    advance: Callable[[int], None] | None = None,
) -> Iterator[Pair]:
    """Yields the pairs of a split, topic by topic.

    Args:
        files: what `find_files` returned.
        split: train, valid or test.
        context_turns: at most this many turns of a dialogue before the response.
        log: counts files that are left out.
        advance: called with the size of each file that was read.

    Raises:
        ValueError: the split is not one of the three.
        DataError: a file is empty, binary or huge.
    """
    if split not in _MESSAGES:
        raise ValueError(f"split must be train, valid or test for smalltalk, got {split!r}")
    for path in files:
        log.read += 1
        topic = _load(path, log)
        if topic is not None:
            for message in topic[_MESSAGES[split]]:
                for reply in topic["replies"]:
                    yield (message,), reply
            if split == "train":
                for dialogue in topic["dialogues"]:
                    yield from pairs_of_dialogue(dialogue, context_turns)
        if advance is not None:
            advance(path.stat().st_size)


def _load(path: Path, log: MalformedLog) -> dict[str, Any] | None:
    size = path.stat().st_size
    if size > _MAX_FILE_BYTES:
        raise DataError(f"{path}: {size} bytes, more than {_MAX_FILE_BYTES} for one topic")
    content = path.read_bytes()
    check_text(path, content[:8192])
    try:
        topic = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        log.add(path, 1, "invalid UTF-8", content)
        return None
    except (ValueError, RecursionError):
        log.add(path, 1, "bad JSON", content)
        return None
    if problem := _bad_topic(topic):
        log.add(path, 1, problem, content)
        return None
    return dict(topic)


def _bad_topic(topic: Any) -> str:
    if not isinstance(topic, dict):
        return "not an object"
    for key in (*_MESSAGES.values(), "replies"):
        texts = topic.get(key)
        if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
            return f"{key} is not a list of texts"
    dialogues = topic.get("dialogues")
    if not isinstance(dialogues, list) or any(bad_turns(turns) for turns in dialogues):
        return "dialogues is not a list of lists of texts"
    return ""
