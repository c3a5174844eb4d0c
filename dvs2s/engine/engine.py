"""A model packed for the compiled decode engine, and whole batches decoded in one call.

The plain search (``decoding/search.py`` over ``decoding/session.py``) is the definition; in fp32
the engine gives its hypotheses, and its scores to float32's accuracy.
"""

import os
import weakref
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from dvs2s.decoding.options import SearchOptions
from dvs2s.engine.results import Decoded
from dvs2s.engine.session import EngineSession
from dvs2s.engine.weights import engine_weights
from dvs2s.engine.words import Words
from dvs2s.model import Dvs2sModel
from dvs2s.ops.extension import load

Precision = Literal["fp32", "bf16", "int8"]
_KNOWN_BYTES = 64 << 20


def why_unavailable() -> str:
    """Returns why there is no engine in this installation, or "" when there is one."""
    found = load()
    if found.why_not:
        return found.why_not
    if not hasattr(torch.ops.dvs2s, "engine_words"):
        return "the compiled extension is older than the engine: build it again"
    return ""


class Engine:
    """A packed model. Takes messages as ids; ``responder.py`` gives it text.

    Safe to call from several threads, one call at a time decodes. Not to be used in a process
    forked after it was made.

    Args:
        model: on any device; packed as it is now.
        precision: of weights and of what they are multiplied with; sums are float32. int8 has one
            scale a row of weights and one a vector.
        threads: 0 for as many as torch uses.
        known_words: how many of the most frequent words have what they add to the gates of encoder
            and decoder made once, in float32, so that no step makes or rounds it again: 36 bytes a
            word and hidden unit. None: as many as 64 MiB hold for each of the two.

    Raises:
        ValueError: a precision that there is not, fewer threads or known words than 0.
        RuntimeError: the extension is not there.
    """

    def __init__(
        self,
        model: Dvs2sModel,
        *,
        precision: Precision = "fp32",
        threads: int = 0,
        known_words: int | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            choices = ", ".join(get_args(Precision))
            raise ValueError(f"precision must be one of {choices}, got {precision!r}")
        if threads < 0:
            raise ValueError(f"threads must be at least 0 (as many as torch uses), got {threads}")
        if known_words is not None and known_words < 0:
            raise ValueError(f"known_words must be at least 0 (none), got {known_words}")
        if why := why_unavailable():
            raise RuntimeError(f"there is no decode engine: {why}")
        self.sizes, self.precision = model.sizes, precision
        self.threads = min(threads or torch.get_num_threads(), 4 * (os.cpu_count() or 1))
        sizes = self.sizes
        numbers = [
            sizes.vocabulary_size,
            sizes.num_fixed,
            sizes.embedding_size,
            sizes.hidden_size,
            sizes.bag_size,
            sizes.predictor_size,
            get_args(Precision).index(precision),
            self.threads,
            *(
                _KNOWN_BYTES // (bytes_ * sizes.hidden_size) if known_words is None else known_words
                for bytes_ in (24, 12)
            ),
        ]
        self._handle: int = torch.ops.dvs2s.engine_new(engine_weights(model), numbers)
        weakref.finalize(self, torch.ops.dvs2s.engine_free, self._handle)

    def describe(self) -> str:
        """Returns one line: precision, instruction set and threads."""
        isa = torch.ops.dvs2s.engine_isa()
        return f"compiled engine ({self.precision}, {isa}, threads={self.threads})"

    def session(self) -> EngineSession:
        """Returns a running batch that messages may join and leave."""
        return EngineSession(self.sizes, torch.ops.dvs2s.engine_batch(self._handle))

    def decode(
        self,
        messages: Tensor,
        lengths: Tensor,
        options: SearchOptions,
        words: Words,
        *,
        input_seeds: Sequence[int] | None = None,
    ) -> tuple[list[Decoded], dict[str, float]]:
        """Decodes a batch; a message's result does not depend on the others or on the threads.

        Args:
            messages: (B, S) int64, padded.
            lengths: (B,) int64 in 1..S.
            options: of the search.
            words: how the vocabularies are chosen.
            input_seeds: sampling: one whole number >= 0 a message, positions by default.

        Returns:
            B results, and the seconds of encoding, prediction, selection and search.

        Raises:
            ValueError: arguments that do not fit, or a log-probability that is no number.
        """
        with self.session() as session:
            ids = session.add(messages, lengths, options, words, input_seeds=input_seeds)
            session.run()
            return session.take(ids), session.seconds()
