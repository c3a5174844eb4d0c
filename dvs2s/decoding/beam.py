"""Beam search: the plain implementation that faster ones are measured against.

One step, for all active inputs at once: the 2W best continuations of the W live hypotheses are
found; of the first W, those that end the sentence are finished; the best W of the others live on.
(2W, because at most W continuations end, so W live ones remain.) The live hypotheses do not depend
on the finished ones, so keeping only the `num_best` finished hypotheses gives the same replies as
keeping more, and lets an input stop earlier.

Order among equals: the better score, then the hypothesis finished earlier, then the lower
hypothesis, then the lower slot.
"""

from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch import Tensor

from dvs2s.decoding.constraints import Constraints, check_numbers
from dvs2s.decoding.options import SearchOptions
from dvs2s.decoding.ordering import top_indices
from dvs2s.decoding.protocol import (
    Hypothesis,
    OnStep,
    State,
    StepModel,
    make_hypothesis,
    penalty_of_length,
)


@dataclass(frozen=True)
class Live:
    """The unfinished hypotheses of the A active inputs, best first."""

    log_probs: Tensor  # (A, W) float64; -inf where there is no hypothesis
    slots: Tensor  # (A, W, t) int64
    token_log_probs: Tensor  # (A, W, t) float64

    def narrowed(self, keep: Tensor) -> "Live":
        return Live(self.log_probs[keep], self.slots[keep], self.token_log_probs[keep])


@dataclass(frozen=True)
class Candidates:
    """The C best continuations of each active input, best first: all (A, C)."""

    parents: Tensor  # int64
    slots: Tensor  # int64
    token_log_probs: Tensor  # float64
    log_probs: Tensor  # float64; -inf where there is no continuation

    def picked(self, order: Tensor) -> "Candidates":
        return Candidates(*(column.gather(-1, order) for column in self._columns()))

    def narrowed(self, keep: Tensor) -> "Candidates":
        return Candidates(*(column[keep] for column in self._columns()))

    def _columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.parents, self.slots, self.token_log_probs, self.log_probs


class Finished:
    """The `num_best` best finished hypotheses of every input."""

    def __init__(self, num_inputs: int, options: SearchOptions, device: torch.device) -> None:
        self.replies: list[list[Hypothesis]] = [[] for _ in range(num_inputs)]
        self.inputs = list(range(num_inputs))  # the A active ones
        # The score that a further hypothesis has to beat: (A,), -inf while there is room.
        self.worst = torch.full((num_inputs,), -torch.inf, dtype=torch.float64, device=device)
        self.options = options

    def narrow(self, keep: Tensor) -> None:
        """Go on with the active inputs at the positions `keep` (A',) int64."""
        self.inputs = [self.inputs[row] for row in keep.tolist()]
        self.worst = self.worst[keep]

    def take(self, candidates: Candidates, live: Live, eos_slot: int) -> None:
        """Take the hypotheses that end now among the first W candidates."""
        first = slice(self.options.beam)
        scores = candidates.log_probs[:, first] / penalty_of_length(
            live.slots.size(-1) + 1, self.options.length_penalty
        )
        ending = (candidates.slots[:, first] == eos_slot) & (scores > self.worst[:, None])
        rows, columns = ending.nonzero(as_tuple=True)  # by input, best first
        if not rows.numel():
            return
        parents = candidates.parents[rows, columns]
        ends = candidates.token_log_probs[rows, columns].tolist()
        slots = live.slots[rows, parents].tolist()
        token_log_probs = live.token_log_probs[rows, parents].tolist()
        for number, row in enumerate(rows.tolist()):
            self._insert(row, slots[number], [*token_log_probs[number], ends[number]])

    def _insert(self, row: int, slots: list[int], token_log_probs: list[float]) -> None:
        alpha, capacity = self.options.length_penalty, self.options.num_best
        reply = make_hypothesis(slots, token_log_probs, finished=True, alpha=alpha)
        replies = self.replies[self.inputs[row]]
        # Behind equal ones: those were finished earlier, or come from a lower hypothesis.
        replies.insert(bisect_right(replies, -reply.score, key=lambda other: -other.score), reply)
        del replies[capacity:]
        if len(replies) == capacity:
            self.worst[row] = replies[-1].score


def beam_search(
    model: StepModel[State], options: SearchOptions, *, on_step: OnStep | None = None
) -> list[list[Hypothesis]]:
    """Up to `num_best` replies to each of the model's B inputs, best first.

    An input for which nothing was finished gets its best live hypotheses instead, flagged.

    Args:
        model: B inputs.
        options: everything but what belongs to sampling is read.
        on_step: may stop inputs; sees no words.
    """
    log_probs, state = model.start()  # (B, 1, K)
    device = log_probs.device
    constraints = Constraints(model, options)
    finished = Finished(log_probs.size(0), options, device)
    live = empty_hypotheses(log_probs.size(0), device)
    # Scores of live hypotheses can not rise, and divided by the greatest penalty they are greatest.
    best_penalty = penalty_of_length(options.max_length, options.length_penalty)

    for length in range(1, options.max_length + 1):
        scores = constraints.apply(log_probs, live.slots)  # (A, W, K)
        candidates = best_candidates(scores, log_probs, live, 2 * options.beam)
        finished.take(candidates, live, model.eos_slot)
        chosen = choose_live(candidates, model.eos_slot, options.beam)
        successors = extended(live, chosen)

        # An input leaves when no live hypothesis can beat the finished ones, or has to.
        inputs = finished.inputs
        stopped = set(on_step(inputs, [[] for _ in inputs]) or ()) if on_step else set()
        settled = (successors.log_probs[:, 0] / best_penalty <= finished.worst).tolist()
        leaving = [
            done or length == options.max_length or position in stopped
            for position, done in zip(inputs, settled, strict=True)
        ]
        for row, position in enumerate(inputs):
            if leaving[row] and not finished.replies[position]:
                unfinished = unfinished_replies(successors, row, options)
                finished.replies[position] = unfinished or unfinished_replies(live, row, options)
        if all(leaving):
            break

        if any(leaving):
            going_on = [row for row, leaves in enumerate(leaving) if not leaves]
            keep = torch.tensor(going_on, device=device)
            state = model.narrow(state, keep)
            constraints.narrow(keep)
            finished.narrow(keep)
            successors, chosen = successors.narrowed(keep), chosen.narrowed(keep)
        live = successors
        state = model.reorder(state, chosen.parents)
        log_probs, state = model.step(chosen.slots, state)
    return finished.replies


def empty_hypotheses(num_inputs: int, device: torch.device) -> Live:
    return Live(
        torch.zeros(num_inputs, 1, dtype=torch.float64, device=device),
        torch.empty(num_inputs, 1, 0, dtype=torch.int64, device=device),
        torch.empty(num_inputs, 1, 0, dtype=torch.float64, device=device),
    )


def best_candidates(scores: Tensor, log_probs: Tensor, live: Live, count: int) -> Candidates:
    """The `count` best continuations, or as many as there are slots and hypotheses.

    Args:
        scores: (A, W, K) constrained log-probabilities; overwritten.
        log_probs: (A, W, K) the model's own.
        live: W hypotheses of each of A inputs.
        count: continuations C wanted.
    """
    num_slots = scores.size(-1)
    # Sums of single precision find the best; sums of double precision order them.
    totals = scores.add_(live.log_probs[..., None].to(scores.dtype)).flatten(1)  # (A, W * K)
    places = top_indices(totals, count)  # rising: by hypothesis, then by slot
    found = totals.gather(-1, places)
    check_numbers(found)
    parents = places // num_slots
    token_log_probs = log_probs.reshape(totals.shape).gather(-1, places).double()
    exact = live.log_probs.gather(-1, parents) + token_log_probs
    exact = exact.masked_fill(found == -torch.inf, -torch.inf)
    ranked = exact.sort(dim=-1, descending=True, stable=True)
    unranked = Candidates(parents, places % num_slots, token_log_probs, exact)
    return unranked.picked(ranked.indices)


def choose_live(candidates: Candidates, eos_slot: int, beam: int) -> Candidates:
    """The first W candidates that go on; W is less than `beam` while there are too few."""
    ends = candidates.slots == eos_slot
    order = ends.to(torch.int8).sort(dim=-1, stable=True).indices[:, :beam]
    chosen = candidates.picked(order)
    log_probs = chosen.log_probs.masked_fill(chosen.slots == eos_slot, -torch.inf)
    slots = chosen.slots.masked_fill(log_probs == -torch.inf, eos_slot)
    return Candidates(chosen.parents, slots, chosen.token_log_probs, log_probs)


def extended(live: Live, chosen: Candidates) -> Live:
    """The live hypotheses with their new words."""
    shape = (*chosen.parents.shape, live.slots.size(-1))
    parents = chosen.parents[..., None].expand(shape)
    slots = torch.cat([live.slots.gather(1, parents), chosen.slots[..., None]], dim=-1)
    token_log_probs = torch.cat(
        [live.token_log_probs.gather(1, parents), chosen.token_log_probs[..., None]], dim=-1
    )
    return Live(chosen.log_probs, slots, token_log_probs)


def unfinished_replies(live: Live, row: int, options: SearchOptions) -> list[Hypothesis]:
    """The best live hypotheses of an input, none if they are all dead."""
    num_alive = int((live.log_probs[row] > -torch.inf).sum())
    return [
        make_hypothesis(slots, token_log_probs, finished=False, alpha=options.length_penalty)
        for slots, token_log_probs in zip(
            live.slots[row, : min(num_alive, options.num_best)].tolist(),
            live.token_log_probs[row, : min(num_alive, options.num_best)].tolist(),
            strict=True,
        )
    ]
