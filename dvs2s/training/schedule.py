"""Optimisers and learning-rate rules.

An update's number starts at 1: ``lr(1)`` is the rate of the first update.
"""

import math
from collections.abc import Iterable
from typing import Any, Protocol

from torch import nn
from torch.optim import Adadelta, AdamW

from dvs2s.errors import CheckpointError

DECAYS = ("constant", "inverse_sqrt", "cosine")


class Schedule(Protocol):
    """A rule that says how large the next update is."""

    def lr(self, update: int) -> float:
        """Returns the learning rate of update number ``update`` (1 is the first)."""

    def observe(self, valid_loss: float) -> None:
        """Takes note of a validation loss."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run must know, in plain JSON types."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a state that ``state_dict`` returned."""


def adadelta(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float = 1.0,
    rho: float = 0.95,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
) -> Adadelta:
    """Returns an AdaDelta optimiser over ``parameters``.

    Args:
        parameters: what is trained; those that need no gradient are left out.
        lr: factor on AdaDelta's own step, above 0.
        rho: decay of the running averages, in (0, 1).
        eps: added under both roots, above 0.
        weight_decay: L2 penalty, 0 or more.

    Raises:
        ValueError: nothing to train, or a value out of range.

    Source:
        Zeiler (2012), ADADELTA: An Adaptive Learning Rate Method, algorithm 1.
    """
    _require_positive("lr", lr)
    _require_positive("eps", eps)
    _require_not_negative("weight_decay", weight_decay)
    if not 0.0 < rho < 1.0:
        raise ValueError(f"rho must lie between 0 and 1, got {rho}: 0.95 is usual")
    return Adadelta(_trainable(parameters), lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> AdamW:
    """Returns an AdamW optimiser that decays matrices and leaves biases and gains alone.

    Args:
        parameters: what is trained; those that need no gradient are left out.
        lr: learning rate, above 0 (a schedule replaces it before each update).
        betas: decay of the two running averages, each in [0, 1).
        eps: added to the root, above 0.
        weight_decay: decoupled decay of tensors with two or more dimensions, 0 or more.

    Raises:
        ValueError: nothing to train, or a value out of range.

    Source:
        Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization, algorithm 2.
    """
    _require_positive("lr", lr)
    _require_positive("eps", eps)
    _require_not_negative("weight_decay", weight_decay)
    if not all(0.0 <= beta < 1.0 for beta in betas):
        raise ValueError(f"betas must each lie in [0, 1), got {betas}: (0.9, 0.98) is usual")
    trainable = _trainable(parameters)
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    kept = [group for group in groups if group["params"]]
    # fused: one pass over each tensor and no temporary ones as large as the largest table
    return AdamW(kept, lr=lr, betas=betas, eps=eps, fused=True)


class HalveOnPlateau:
    """A rate that is halved when the validation loss stops improving.

    Args:
        lr: the first rate, above 0.
        patience: validations in a row without a new best before a halving, 1 or more.
        min_lr: the rate never falls below this, from 0 to ``lr``.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(self, lr: float = 1.0, *, patience: int = 1, min_lr: float = 0.0) -> None:
        _require_positive("lr", lr)
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}: 1 halves at once")
        if not 0.0 <= min_lr <= lr:
            raise ValueError(f"min_lr must lie between 0 and lr={lr}, got {min_lr}")
        self._patience = patience
        self._min_lr = min_lr
        self._lr = lr
        self._best: float | None = None
        self._waited = 0

    def lr(self, update: int) -> float:
        """Returns the current rate; the update's number plays no part."""
        _require_update(update)
        return self._lr

    def observe(self, valid_loss: float) -> None:
        """Halves the rate when ``patience`` losses in a row were no new best (NaN never is)."""
        if math.isfinite(valid_loss) and (self._best is None or valid_loss < self._best):
            self._best = valid_loss
            self._waited = 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            self._lr = max(self._lr / 2, self._min_lr)
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the rate, the best loss and the validations since, as plain numbers."""
        return {"lr": self._lr, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from ``state``.

        Raises:
            CheckpointError: the state is another schedule's.
        """
        _require_keys(state, {"lr", "best", "waited"}, "HalveOnPlateau")
        self._lr = float(state["lr"])
        self._best = None if state["best"] is None else float(state["best"])
        self._waited = int(state["waited"])


class WarmUp:
    """A rate that rises linearly to ``lr``, then decays; a function of the update alone.

    Args:
        lr: the highest rate, reached at update ``warmup``, above 0.
        warmup: updates of the rise, 0 or more.
        decay: "constant"; "inverse_sqrt" (lr * sqrt(warmup / update)); or "cosine" (half a
            wave from ``lr`` at ``warmup`` down to ``min_lr`` at ``total``).
        total: the last update, needed by "cosine" only, more than ``warmup``.
        min_lr: floor of the decay, from 0 to ``lr``.

    Raises:
        ValueError: a value out of range, or an unknown decay.
    """

    def __init__(
        self,
        lr: float,
        *,
        warmup: int,
        decay: str = "constant",
        total: int | None = None,
        min_lr: float = 0.0,
    ) -> None:
        _require_positive("lr", lr)
        if warmup < 0:
            raise ValueError(f"warmup must be 0 or more updates, got {warmup}")
        if decay not in DECAYS:
            raise ValueError(f"decay must be one of {', '.join(DECAYS)}, got {decay!r}")
        if decay == "cosine" and (total is None or total <= warmup):
            raise ValueError(f"total must be more than warmup={warmup} for cosine, got {total}")
        if not 0.0 <= min_lr <= lr:
            raise ValueError(f"min_lr must lie between 0 and lr={lr}, got {min_lr}")
        self._lr = lr
        self._warmup = warmup
        self._decay = decay
        self._total = warmup + 1 if total is None else total
        self._min_lr = min_lr

    def lr(self, update: int) -> float:
        """Returns the rate of ``update`` (1 is the first)."""
        _require_update(update)
        if update <= self._warmup:
            return self._lr * update / self._warmup
        match self._decay:
            case "constant":
                return self._lr
            case "inverse_sqrt":
                return max(self._min_lr, self._lr * math.sqrt(max(self._warmup, 1) / update))
            case _:
                return self._cosine(update)

    def _cosine(self, update: int) -> float:
        done = min(1.0, (update - self._warmup) / (self._total - self._warmup))
        return self._min_lr + (self._lr - self._min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))

    def observe(self, valid_loss: float) -> None:
        """Ignores the loss: this rule follows the update's number only."""

    def state_dict(self) -> dict[str, Any]:
        """Returns an empty state: the update's number says everything."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Checks that ``state`` is this rule's, which is empty.

        Raises:
            CheckpointError: the state is another schedule's.
        """
        _require_keys(state, set(), "WarmUp")


def _trainable(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ValueError("parameters holds nothing that needs a gradient: nothing to train")
    return trainable


def _require_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a number above 0, got {value}")


def _require_not_negative(name: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be 0 or more, got {value}")


def _require_update(update: int) -> None:
    if update < 1:
        raise ValueError(f"update must be at least 1, got {update}: the first update is 1")


def _require_keys(state: dict[str, Any], keys: set[str], name: str) -> None:
    if set(state) != keys:
        raise CheckpointError(
            f"the schedule's state has {sorted(state)}, {name} needs {sorted(keys)}: "
            "resume with the schedule that the run was started with"
        )
