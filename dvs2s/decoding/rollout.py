"""Word by word without branching: the loop that greedy search and sampling share."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dvs2s.decoding.constraints import Constraints, check_numbers
from dvs2s.decoding.options import SearchOptions
from dvs2s.decoding.protocol import Hypothesis, OnStep, State, StepModel, make_hypothesis

# (A, W, K) constrained log-probabilities and the A inputs -> (A, W) slots, any slot for a row in
# which nothing is left to choose, and (A, W) the greatest value of each row.
Choose = Callable[[Tensor, list[int]], tuple[Tensor, Tensor]]


@dataclass
class _Rows:
    """The words so far of the active inputs, and which of their replies have ended."""

    inputs: list[int]
    slots: Tensor  # (A, W, t) int64
    token_log_probs: Tensor  # (A, W, t) float64; -inf marks the dead end of a row
    ended: Tensor  # (A, W) bool
    replies: list[list[Hypothesis]] = field(default_factory=list)

    def append(self, chosen: Tensor, values: Tensor, eos_slot: int) -> Tensor:
        """Note (A, W) words and their log-probabilities; return the slots to go on from."""
        self.ended |= values == -torch.inf
        chosen = chosen.masked_fill(self.ended, eos_slot)
        self.slots = torch.cat([self.slots, chosen[..., None]], dim=-1)
        self.token_log_probs = torch.cat([self.token_log_probs, values.double()[..., None]], dim=-1)
        self.ended |= chosen == eos_slot
        return chosen

    def narrow(self, keep: Tensor) -> None:
        self.inputs = [self.inputs[position] for position in keep.tolist()]
        self.slots = self.slots[keep]
        self.token_log_probs = self.token_log_probs[keep]
        self.ended = self.ended[keep]


def rollout(
    model: StepModel[State],
    options: SearchOptions,
    choose: Choose,
    *,
    width: int = 1,
    on_step: OnStep | None = None,
) -> list[list[Hypothesis]]:
    """`width` replies to every input, best first, each word picked by `choose`.

    Args:
        model: B inputs.
        options: lengths, blocked n-grams and the length penalty are read.
        choose: picks one word for every row.
        width: replies W per input.
        on_step: sees every word, and may stop inputs.

    Returns:
        B lists of W hypotheses.
    """
    log_probs, state = model.start()  # (B, 1, K)
    num_inputs, device = log_probs.size(0), log_probs.device
    if width > 1:
        parents = torch.zeros(num_inputs, width, dtype=torch.int64, device=device)
        state = model.reorder(state, parents)
        log_probs = log_probs.expand(-1, width, -1)
    constraints = Constraints(model, options)
    rows = _Rows(
        list(range(num_inputs)),
        torch.empty(num_inputs, width, 0, dtype=torch.int64, device=device),
        torch.empty(num_inputs, width, 0, dtype=torch.float64, device=device),
        torch.zeros(num_inputs, width, dtype=torch.bool, device=device),
        [[] for _ in range(num_inputs)],
    )
    for length in range(1, options.max_length + 1):
        constrained = constraints.apply(log_probs, rows.slots)
        chosen, best = choose(constrained, rows.inputs)
        check_numbers(best)
        values = constrained.gather(-1, chosen[..., None]).squeeze(-1)  # (A, W)
        chosen = rows.append(chosen, values, model.eos_slot)

        # An input leaves when all of its replies have ended, or when the caller stops it.
        stopped = set(on_step(rows.inputs, chosen.tolist()) or ()) if on_step else set()
        leaving = [
            ended or length == options.max_length or position in stopped
            for position, ended in zip(rows.inputs, rows.ended.all(-1).tolist(), strict=True)
        ]
        if any(leaving):
            _collect(rows, leaving, model.eos_slot, options.length_penalty)
            if all(leaving):
                break
            going_on = [position for position, leaves in enumerate(leaving) if not leaves]
            keep = torch.tensor(going_on, device=device)
            state = model.narrow(state, keep)
            constraints.narrow(keep)
            rows.narrow(keep)
            chosen = chosen[keep]
        log_probs, state = model.step(chosen, state)
    return rows.replies


def _collect(rows: _Rows, leaving: list[bool], eos_slot: int, alpha: float) -> None:
    """Make the hypotheses of the inputs that leave, best first."""
    for position, leaves in enumerate(leaving):
        if not leaves:
            continue
        replies = [
            _cut_at_end(slots, values, eos_slot, alpha)
            for slots, values in zip(
                rows.slots[position].tolist(),
                rows.token_log_probs[position].tolist(),
                strict=True,
            )
        ]
        replies.sort(key=lambda reply: -reply.score)  # stable: equal ones stay in order
        rows.replies[rows.inputs[position]] = replies


def _cut_at_end(slots: list[int], values: list[float], eos_slot: int, alpha: float) -> Hypothesis:
    for length, (slot, value) in enumerate(zip(slots, values, strict=True)):
        if value == -torch.inf:  # nothing could follow these words
            return make_hypothesis(slots[:length], values[:length], finished=False, alpha=alpha)
        if slot == eos_slot:
            return make_hypothesis(slots[:length], values[: length + 1], finished=True, alpha=alpha)
    return make_hypothesis(slots, values, finished=False, alpha=alpha)
