"""Who decodes: the plain search, torch's own int8, and the compiled engine."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from dvs2s.decoding.options import SearchOptions
from dvs2s.decoding.search import search
from dvs2s.decoding.session import Session, SessionState
from dvs2s.dynamic_vocab import DynamicVocab, select_words
from dvs2s.engine.engine import Engine, Precision
from dvs2s.engine.words import Words
from dvs2s.layers.encoder import Encoded
from dvs2s.model import Dvs2sModel

Replies = list[list[int]]  # the words of each message's best reply


@dataclass(frozen=True)
class Task:
    """What is decoded.

    Args:
        messages: (B, S) int64 without padding.
        options: of the search.
        num_words: |T| of a dynamic vocabulary.
    """

    messages: Tensor
    options: SearchOptions
    num_words: int

    @property
    def lengths(self) -> Tensor:
        """(B,) int64, all S."""
        return torch.full((self.messages.shape[0],), self.messages.shape[1])


class Contender(Protocol):
    """Decodes tasks."""

    @property
    def name(self) -> str:
        """Which program, in which precision."""
        ...

    @property
    def vocabulary(self) -> str:
        """``full`` or ``dynamic``."""
        ...

    @property
    def family(self) -> str:
        """Whose replies its own are compared with: ``ours``, or ``peer``."""
        ...

    @property
    def note(self) -> str:
        """What has to be known to compare it."""
        ...

    def decode(self, task: Task) -> tuple[Replies, dict[str, float]]:
        """Returns the replies, and the seconds by stage."""
        ...


class Plain:
    """PyTorch in float32 and the plain search: with the full vocabulary, the paper's baseline."""

    def __init__(self, model: Dvs2sModel, vocabulary: str) -> None:
        self._model, self.vocabulary = model, vocabulary
        self.name, self.family, self.note = "torch fp32, plain search", "ours", ""

    @torch.inference_mode()
    def decode(self, task: Task) -> tuple[Replies, dict[str, float]]:
        """Returns the replies, and the seconds by stage."""
        clock = _Clock()
        encoded = self._model.encode(task.messages, task.lengths)
        clock.lap("encode")
        vocab = self._choose(encoded, task, clock)
        clock.lap("select")
        found = search(self._session(encoded, vocab), task.options)
        clock.lap("search")
        return [_words(vocab.row(i), hyps[0].slots) for i, hyps in enumerate(found)], clock.laps

    def _choose(self, encoded: Encoded, task: Task, clock: "_Clock") -> DynamicVocab:
        sizes = self._model.sizes
        if self.vocabulary == "full":
            device = task.messages.device
            return DynamicVocab.full(len(task.messages), sizes.vocabulary_size, device)
        odds = self._model.predict_words(encoded)
        clock.lap("predict")
        return select_words(odds, num_fixed=sizes.num_fixed, size=task.num_words)

    def _session(self, encoded: Encoded, vocab: DynamicVocab) -> Session:
        return Session(self._model, encoded, vocab)


class TorchInt8(Plain):
    """torch's dynamic int8 quantisation with the full vocabulary: the strongest stock baseline."""

    def __init__(self, model: Dvs2sModel) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces the successor of this quantiser
            quantised = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                model, {torch.nn.Linear, torch.nn.GRU}, dtype=torch.qint8
            )
        super().__init__(quantised, "full")
        self.name = "torch int8 (quantize_dynamic), plain search"

    def _session(self, encoded: Encoded, vocab: DynamicVocab) -> Session:
        return _FullSession(self._model, encoded, vocab)


class Compiled:
    """The compiled engine."""

    def __init__(
        self, model: Dvs2sModel, vocabulary: str, precision: Precision, threads: int
    ) -> None:
        self._engine = Engine(model, precision=precision, threads=threads)
        self.vocabulary = vocabulary
        self.name, self.family, self.note = f"engine {precision}", "ours", ""
        self.precision = precision

    def decode(self, task: Task) -> tuple[Replies, dict[str, float]]:
        """Returns the replies, and the seconds by stage."""
        words = Words("full") if self.vocabulary == "full" else Words("size", size=task.num_words)
        found, seconds = self._engine.decode(task.messages, task.lengths, task.options, words)
        return [_words(one.words, one.replies[0].slots) for one in found], seconds


class _FullSession(Session):
    """A session whose output layer is called as a module: quantised ones have no weight to take."""

    def start(self) -> tuple[Tensor, SessionState]:
        hidden, memory = self.model.start(self._encoded)
        begin = torch.full_like(self.vocab.ids[:, :1], 2)
        hidden = self.model.step(begin, hidden, memory)
        none = hidden.new_empty(0, 0)  # no rows are gathered
        state = SessionState(hidden, memory, none, none, self.vocab, False)
        return self._log_probs(hidden), state

    def step(self, slots: Tensor, state: SessionState) -> tuple[Tensor, SessionState]:
        hidden = self.model.step(slots, state.hidden, state.memory)
        state = replace(state, hidden=hidden)
        return self._log_probs(hidden), state

    def _log_probs(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.output.projection(hidden)
        return logits.log_softmax(-1)


class _Clock:
    """Seconds between calls of ``lap``."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _words(row: list[int], slots: Sequence[int]) -> list[int]:
    return [row[slot] for slot in slots]
