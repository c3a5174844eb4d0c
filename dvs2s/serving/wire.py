"""What the two processes say to each other: one JSON object a line, plain types, ASCII.

Front to engine: ``{"job": ...}``, ``{"cancel": id}``. Engine to front: events with a ``kind``.
"""

import json
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
"""``kind`` is one of:

``ready``       the models are loaded: ``models``, a list of ``ModelInfo`` as objects
``failed``      they could not be loaded: ``reason``
``beat``        a sign of life
``words``       T of job ``id`` is known: ``vocabulary``
``text``        a further piece of job ``id``'s reply: ``text``
``done``        job ``id`` is answered: ``replies``, ``vocabulary``, ``seconds``, ``batch``, ...
``error``       job ``id`` could not be answered: ``status``, ``reason``
"""

LAST_KINDS = ("done", "error")
"""Nothing about a job comes after one of these."""


@dataclass(frozen=True)
class Job:
    """One message to answer.

    Args:
        id: unique among the jobs of one engine.
        model: its name.
        turns: of the conversation, newest last; at least one.
        search: every setting of ``SearchConfig``.
        seed: at least 0; with ``search["seed"]`` it fixes what is sampled.
        bias: (word id, number) pairs: added to the word's log-probability at every step; a
            positive one brings the word into T.
        allow: words that come into T.
        forbid: words that are never generated.
        stop: texts before which a reply is cut.
        stream: whether ``words`` and ``text`` events are wanted.
        lens: content words of T to report, at most; 0 reports sizes only.
        sources: whether ``done`` says which word of the message brought each of them in.
    """

    id: int
    model: str
    turns: tuple[str, ...]
    search: dict[str, Any]
    seed: int = 0
    bias: tuple[tuple[int, float], ...] = ()
    allow: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    stream: bool = False
    lens: int = 0
    sources: bool = False

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "Job":
        """Returns the job that ``plain`` made an object of."""
        tuples = {k: tuple(values[k]) for k in ("turns", "allow", "forbid", "stop")}
        bias = tuple((int(word), float(number)) for word, number in values["bias"])
        return Job(**{**values, **tuples, "bias": bias})

    def plain(self) -> dict[str, Any]:
        """Returns it as an object of plain types."""
        return dict(vars(self))  # all of its values are plain


@dataclass(frozen=True)
class ModelInfo:
    """What the front has to know about a loaded model.

    Args:
        name: under which requests ask for it.
        source: the checkpoint's last folders, for people.
        words: V.
        fixed: special and function words.
        predicts: whether it was trained to choose words.
        sane_outside: whether its decoder was trained over all words, too.
        search: its settings.
        turns: of a conversation that it was trained on.
        parameters: how many.
        device: where it runs.
        precision: of its weights.
        kernels: which serve it.
        created: Unix time of its file.
        guarantees: (α, "all" or "share", whether with the message's words) of its calibration.
    """

    name: str
    source: str
    words: int
    fixed: int
    predicts: bool
    sane_outside: bool
    search: dict[str, Any] = field(default_factory=dict)
    turns: int = 1
    parameters: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    kernels: str = ""
    created: int = 0
    guarantees: tuple[tuple[float, str, bool], ...] = ()


def line(message: dict[str, Any]) -> bytes:
    """Returns a message as one line of ASCII.

    Raises:
        ValueError: a number that JSON lacks, NaN or an infinite one.
    """
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def parse(data: bytes) -> dict[str, Any]:
    """Returns the message of a line.

    Raises:
        ValueError: it is no JSON object.
    """
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError(f"a message must be an object, got {data[:80]!r}: one JSON object a line")
    return message
