"""What a person sees of a run while it goes: a bar on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

DISPLAYS = ("bar", "lines", "none")

_LINE_SECONDS = 30.0
_SMOOTHING = 0.95


class Speed:
    """Updates and tokens a second since the last ``restart``.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Starts a new measurement."""
        self._start = self._clock()
        self._updates = 0
        self._tokens = 0

    def add(self, num_tokens: int) -> None:
        """Counts one update."""
        self._updates += 1
        self._tokens += num_tokens

    def rates(self) -> tuple[float, float]:
        """Returns (updates a second, tokens a second), zeros before the first update."""
        seconds = self._clock() - self._start
        if seconds <= 0:
            return 0.0, 0.0
        return self._updates / seconds, self._tokens / seconds


class Progress:
    """Shows smoothed loss, speed, time left and the last validation loss.

    Args:
        display: "bar" (plain lines where ``stream`` is no terminal), "lines" or "none".
        total: updates of the whole run.
        start: updates made before.
        stream: standard error where None.
        clock: returns seconds.

    Raises:
        ValueError: an unknown display.
    """

    def __init__(
        self,
        display: str,
        total: int,
        *,
        start: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if display not in DISPLAYS:
            raise ValueError(f"display must be one of {', '.join(DISPLAYS)}, got {display!r}")
        self._stream = sys.stderr if stream is None else stream
        self._total = total
        self._clock = clock
        self._speed = Speed(clock)
        self._loss: float | None = None
        self._valid: float | None = None
        self._last_line = clock()
        self._lines = display == "lines" or (display == "bar" and not self._stream.isatty())
        self._bar: tqdm[Any] | None = None
        if display == "bar" and not self._lines:
            self._bar = tqdm(
                total=total, initial=start, file=self._stream, unit="update", dynamic_ncols=True
            )

    def advance(self, update: int, loss: float, num_tokens: int) -> None:
        """Shows that ``update`` is done; a loss that is not finite stays out of the mean."""
        self._speed.add(num_tokens)
        if math.isfinite(loss):
            old = loss if self._loss is None else self._loss
            self._loss = _SMOOTHING * old + (1.0 - _SMOOTHING) * loss
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures(), refresh=False)
            self._bar.update(update - self._bar.n)
        elif self._lines and self._clock() - self._last_line >= _LINE_SECONDS:
            self._print(update)

    def validated(self, update: int, loss: float) -> None:
        """Shows a validation loss."""
        self._valid = loss
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures())
        elif self._lines:
            self._print(update)

    def note(self, sentence: str) -> None:
        """Shows a sentence on a line of its own."""
        if self._bar is not None:
            self._bar.write(sentence, file=self._stream)
        elif self._lines:
            print(sentence, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the bar where it is."""
        if self._bar is not None:
            self._bar.close()

    def _print(self, update: int) -> None:
        self._last_line = self._clock()
        updates_a_second, _ = self._speed.rates()
        left = (self._total - update) / updates_a_second if updates_a_second else math.inf
        print(
            f"update {update}/{self._total}: {self._figures()}, "
            f"{updates_a_second:.2f} updates/s, {_hours(left)} left",
            file=self._stream,
            flush=True,
        )

    def _figures(self) -> str:
        _, tokens_a_second = self._speed.rates()
        figures = [] if self._loss is None else [f"loss {self._loss:.4f}"]
        if self._valid is not None:
            figures.append(f"valid {self._valid:.4f}")
        figures.append(f"{tokens_a_second:.0f} tokens/s")
        return ", ".join(figures)


def _hours(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown"
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"
