"""The embedded corpus keeps what its data card promises."""

import json
from collections import Counter
from typing import Any

import pytest

from dvs2s.data import smalltalk
from dvs2s.data.malformed import MalformedLog
from dvs2s.paths import embedded_corpus

KINDS = ("messages", "valid_messages", "test_messages")


def plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".!?")


@pytest.fixture(scope="module")
def topics() -> dict[str, Any]:
    files = smalltalk.find_files(embedded_corpus())
    return {path.stem: json.loads(path.read_text(encoding="ascii")) for path in files}


def test_it_is_big_enough(topics: dict[str, Any]) -> None:
    assert len(topics) >= 60
    for name, topic in topics.items():
        assert len(topic["messages"]) >= 12, name
        assert len(topic["replies"]) >= 6, name
        assert topic["valid_messages"] and topic["test_messages"] and topic["dialogues"], name


def test_no_message_of_one_split_is_in_another(topics: dict[str, Any]) -> None:
    splits = {
        kind: {plain(message) for topic in topics.values() for message in topic[kind]}
        for kind in KINDS
    }
    assert not splits["messages"] & splits["valid_messages"]
    assert not splits["messages"] & splits["test_messages"]
    assert not splits["valid_messages"] & splits["test_messages"]


def test_no_topic_says_a_message_or_a_reply_twice(topics: dict[str, Any]) -> None:
    for name, topic in topics.items():
        for texts in ([m for kind in KINDS for m in topic[kind]], topic["replies"]):
            twice = [text for text, n in Counter(map(plain, texts)).items() if n > 1]
            assert not twice, name


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_every_file_reads_without_a_malformed_one(topics: dict[str, Any], split: str) -> None:
    files = smalltalk.find_files(embedded_corpus())
    log = MalformedLog()
    pairs = list(smalltalk.read(files, split, 1, log))
    assert (log.read, log.count) == (len(topics), 0)
    kind = dict(zip(("train", "valid", "test"), KINDS, strict=True))[split]
    own = sum(len(topic[kind]) * len(topic["replies"]) for topic in topics.values())
    assert len(pairs) >= own if split == "train" else len(pairs) == own
