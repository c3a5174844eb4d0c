"""Two ways to decode a batch, the plain search and the compiled engine, behind one call."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from dvs2s.config import SHORTLISTS, SearchConfig
from dvs2s.data.batch import Batch
from dvs2s.decoding.search import search
from dvs2s.decoding.session import Session
from dvs2s.engine.engine import Engine, Precision, why_unavailable
from dvs2s.engine.results import Decoded
from dvs2s.engine.session import UNKNOWN_KINDS, EngineSession
from dvs2s.engine.words import Words
from dvs2s.layers.encoder import Encoded
from dvs2s.model import Dvs2sModel
from dvs2s.selection import Selector

logger = logging.getLogger("dvs2s")

EngineChoice = Literal["auto", "plain", "compiled"]


@dataclass(frozen=True)
class Limits:
    """Words that a caller lets in or keeps out, each (V,) bool or None for none."""

    allow: Tensor | None = None
    forbid: Tensor | None = None


class Backend(Protocol):
    """Decodes batches of one model."""

    def decode(
        self, batch: Batch, config: SearchConfig, limits: Limits, seeds: Sequence[int]
    ) -> tuple[list[Decoded], dict[str, float]]:
        """Returns a result for every message, and seconds by stage."""
        ...

    def describe(self) -> str:
        """Returns one line: what decodes."""
        ...


class Reader(Protocol):
    """What a backend asks of the responder that it belongs to."""

    @property
    def has_word_predictor(self) -> bool:
        """Whether the model was trained to choose words."""
        ...

    def encode(self, batch: Batch, config: SearchConfig, input_seeds: Sequence[int]) -> Encoded:
        """Returns the messages read."""
        ...

    def log_odds(self, encoded: Encoded, config: SearchConfig) -> Tensor:
        """Returns what T is chosen by, (B, C) float."""
        ...


class PlainBackend:
    """PyTorch and the plain search, on any device.

    Args:
        model: in eval mode.
        selector: chooses T.
        reader: encodes, and says what T is chosen by.
    """

    def __init__(self, model: Dvs2sModel, selector: Selector, reader: Reader) -> None:
        self._model, self._selector, self._reader = model, selector, reader

    def decode(
        self, batch: Batch, config: SearchConfig, limits: Limits, seeds: Sequence[int]
    ) -> tuple[list[Decoded], dict[str, float]]:
        """Returns a result for every message, and seconds by stage."""
        watch = _Watch(batch.messages.device)
        with watch.stage("encode"):
            encoded = self._reader.encode(batch, config, seeds)
        with watch.stage("predict"):
            log_odds = self._reader.log_odds(encoded, config)
        with watch.stage("select"):
            allowed = None if limits.allow is None else limits.allow.expand(len(batch), -1)
            vocab = self._selector(config, log_odds, batch.messages, allowed)
        with watch.stage("search"):
            session = Session(self._model, encoded, vocab, forbidden=limits.forbid)
            found = search(session, config.options(), input_seeds=seeds)
        odds = log_odds.float().cpu()
        results = []
        for index, replies in enumerate(found):
            words = vocab.row(index)
            results.append(Decoded(replies, words, self._odds_of(odds[index], words)))
        return results, watch.seconds

    def _odds_of(self, odds: Tensor, words: list[int]) -> Tensor:
        fixed = self._model.sizes.num_fixed
        return odds[[word - fixed for word in words if word >= fixed]]

    def describe(self) -> str:
        """Returns one line: what decodes."""
        return "plain search"


class EngineBackend:
    """The compiled engine, on the CPU.

    Args:
        engine: of the model.
        selector: knows the penalty of frequent words.
        plain: what decodes over shortlists, the controls, which the engine does not know.
        has_word_predictor: otherwise every word is certain.
    """

    def __init__(
        self, engine: Engine, selector: Selector, plain: PlainBackend, has_word_predictor: bool
    ) -> None:
        self._engine, self._selector, self._plain = engine, selector, plain
        self._has_word_predictor = has_word_predictor
        self._has_warned = False

    def decode(
        self, batch: Batch, config: SearchConfig, limits: Limits, seeds: Sequence[int]
    ) -> tuple[list[Decoded], dict[str, float]]:
        """Returns a result for every message, and seconds by stage."""
        for name in ("vocabulary", "kind"):
            if getattr(config, name) in (*SHORTLISTS, *UNKNOWN_KINDS):
                _say_once(f"decoding with the plain search: {name}={getattr(config, name)}")
                return self._plain.decode(batch, config, limits, seeds)
        found, seconds = self._engine.decode(
            batch.messages,
            batch.message_lengths,
            config.options(),
            self.words(config, limits),
            input_seeds=seeds,
        )
        if not self._has_word_predictor:
            certain = self._engine.sizes.vocabulary_size - self._engine.sizes.num_fixed
            odds = torch.full((certain,), float("inf"))
            found = [Decoded(one.replies, one.words, odds) for one in found]
        return found, seconds

    def session(self) -> EngineSession:
        """Returns a running batch that messages may join and leave."""
        return self._engine.session()

    def words(self, config: SearchConfig, limits: Limits) -> Words:
        """Returns how the engine is to choose T."""
        if config.vocabulary == "conformal" and self._engine.precision != "fp32":
            if not self._has_warned:
                logger.info(
                    "vocabulary=conformal was calibrated in fp32 and β is of %s here: the "
                    "guarantee holds up to its rounding",
                    self._engine.precision,
                )
            self._has_warned = True
        config = self._selector.resolved(config)
        full = config.vocabulary == "full"
        return Words(
            "full" if full else "size" if config.vocabulary == "size" else "threshold",
            size=config.size,
            threshold=0.0 if full or config.vocabulary == "size" else config.threshold,
            message_words=config.message_words,
            penalty=self._selector.penalty(config),
            include=limits.allow,
            forbid=limits.forbid,
            wants_odds=self._has_word_predictor,
        )

    def describe(self) -> str:
        """Returns one line: what decodes."""
        return self._engine.describe()


def choose_backend(
    model: Dvs2sModel,
    selector: Selector,
    reader: Reader,
    *,
    device: torch.device,
    choice: EngineChoice,
    precision: Precision,
) -> Backend:
    """Returns the backend that was asked for; says where it is the engine, or was expected to be.

    Args:
        model: in eval mode, on ``device``.
        selector: chooses T.
        reader: the responder.
        device: where the model is.
        choice: "compiled" insists on the engine, "plain" on the plain search; "auto" takes the
            engine where there is one.
        precision: of the engine; the plain search has fp32 only.

    Raises:
        ValueError: a choice that there is not, or one that can not be met.
    """
    if choice not in get_args(EngineChoice):
        raise ValueError(f"engine must be one of auto, plain, compiled, got {choice!r}")
    if precision not in get_args(Precision):
        raise ValueError(f"the engine's precision must be fp32, bf16 or int8, got {precision!r}")
    on_cpu = device.type == "cpu"
    why = why_unavailable() if on_cpu else f"the engine is for the CPU and the device is {device}"
    if model.latent is not None:
        why = "the engine knows no latent variable"
    if model.topics is not None:
        why = "the engine knows no topic words"
    if choice == "plain":
        why = "engine=plain asks for it"
    if why and (choice == "compiled" or precision != "fp32"):
        raise ValueError(
            f"engine={choice} with precision={precision} needs the compiled engine: {why}. "
            f"Use engine=auto precision=fp32 for the plain search"
        )
    if why:
        if choice == "auto" and on_cpu:  # elsewhere nobody expects the engine
            _say_once(f"decoding on {device}: plain search ({why})")
        return PlainBackend(model, selector, reader)
    plain = PlainBackend(model, selector, reader)
    engine = Engine(model, precision=precision)
    backend = EngineBackend(engine, selector, plain, reader.has_word_predictor)
    logger.info("decoding on %s: %s", device, backend.describe())
    return backend


@cache
def _say_once(line: str) -> None:
    """Logs a line once in a process: a sweep or a table decodes thousands of batches alike."""
    logger.info("%s", line)


class _Watch:
    """Seconds by stage, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[name] = time.perf_counter() - start
