"""Diverse beam search: groups of hypotheses, each of which avoids what earlier groups say.

The W hypotheses are G groups of W / G. At every step the groups move one after the other, each as a
beam search of its own, with λ n(w) taken from the log-probability of word w: n(w) hypotheses of
earlier groups took w at this very step. Within a group hypotheses are ranked by the sum of these
penalised values; finished replies by the model's own score, like those of any search. So the first
group is an ordinary beam of width W / G, and with G = 1 or λ = 0 all of them are.

End of sentence is not penalised: replies are to differ in words, not in length.

Source: Vijayakumar et al. 2018, Diverse Beam Search, algorithm 1 with Hamming diversity.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dvs2s.decoding.beam import (
    Candidates,
    Finished,
    Live,
    best_candidates,
    choose_live,
    empty_hypotheses,
    extended,
    unfinished_replies,
)
from dvs2s.decoding.constraints import Constraints
from dvs2s.decoding.options import SearchOptions
from dvs2s.decoding.protocol import Hypothesis, OnStep, State, StepModel, penalty_of_length


@dataclass
class _Group:
    """One group's hypotheses.

    Args:
        live: with the model's own log-probabilities, in the order of the ranks.
        ranks: (A, w) float64, sums of penalised log-probabilities, best first.
        finished: the group's best finished replies.
        before: the hypotheses before the last step.
        chosen: the last step's words and parents.
    """

    live: Live
    ranks: Tensor
    finished: Finished
    before: Live
    chosen: Candidates | None = None

    def move(self, scores: Tensor, log_probs: Tensor, penalty: Tensor, eos_slot: int) -> Tensor:
        """Makes one step; returns (A, w) bool, the hypotheses that live on.

        Args:
            scores: (A, w, K) constrained log-probabilities.
            log_probs: (A, w, K) the model's own.
            penalty: (A, K) what each word costs this group now.
            eos_slot: the end-of-sentence slot.
        """
        width = self.finished.options.beam
        ranked = Live(self.ranks, self.live.slots, self.live.token_log_probs)
        taken = penalty[:, None].to(scores.dtype)
        found = best_candidates(scores - taken, log_probs - taken, ranked, 2 * width)
        own = _with_own_values(found, log_probs, self.live)
        self.finished.take(own, self.live, eos_slot)
        chosen = choose_live(own, eos_slot, width)
        self.ranks = choose_live(found, eos_slot, width).log_probs
        self.before, self.live, self.chosen = self.live, extended(self.live, chosen), chosen
        return self.ranks > -torch.inf

    def is_settled(self, best_penalty: float) -> Tensor:
        """Returns (A,) bool: no live hypothesis can beat the finished ones."""
        return self.live.log_probs.amax(-1) / best_penalty <= self.finished.worst

    def narrow(self, keep: Tensor) -> None:
        self.live, self.ranks = self.live.narrowed(keep), self.ranks[keep]
        self.finished.narrow(keep)
        assert self.chosen is not None
        self.chosen = self.chosen.narrowed(keep)


def diverse_beam_search(
    model: StepModel[State], options: SearchOptions, *, on_step: OnStep | None = None
) -> list[list[Hypothesis]]:
    """Up to `num_best` different replies to each input, best score first.

    Taken are the best reply of every group, then the second ones, and so on, until there are
    enough; the same reply of two groups counts once, so there may be fewer.

    Args:
        model: B inputs.
        options: as for beam search, and `groups` and `diversity`.
        on_step: may stop inputs; sees no words.
    """
    log_probs, state = model.start()  # (B, 1, K)
    device, eos_slot = log_probs.device, model.eos_slot
    constraints = Constraints(model, options)
    groups = list(_groups(log_probs.size(0), options, device))
    active = list(range(log_probs.size(0)))
    replies: list[list[Hypothesis]] = [[] for _ in active]
    best_penalty = penalty_of_length(options.max_length, options.length_penalty)
    for length in range(1, options.max_length + 1):
        width = groups[0].live.log_probs.size(-1)
        counts = torch.zeros(len(active), log_probs.size(-1), dtype=torch.float64, device=device)
        for number, group in enumerate(groups):
            first = 0 if length == 1 else number * width  # at first all share the empty reply
            own = log_probs[:, first : first + width]
            scores = constraints.apply(own, group.live.slots)
            penalty = options.diversity * counts
            penalty[:, eos_slot] = 0
            alive = group.move(scores, own, penalty, eos_slot)
            assert group.chosen is not None
            counts.scatter_add_(-1, group.chosen.slots, alive.double())
        stopped = set(on_step(active, [[] for _ in active]) or ()) if on_step else set()
        settled = torch.stack([group.is_settled(best_penalty) for group in groups]).all(0)
        leaving = [
            done or length == options.max_length or position in stopped
            for position, done in zip(active, settled.tolist(), strict=True)
        ]
        for row, position in enumerate(active):
            if leaving[row]:
                replies[position] = _merged(groups, row, position, options)
        if all(leaving):
            break
        parents = [group.chosen.parents for group in groups if group.chosen is not None]
        if any(leaving):
            keep = torch.tensor([r for r, leaves in enumerate(leaving) if not leaves]).to(device)
            state, active = model.narrow(state, keep), [active[r] for r in keep.tolist()]
            constraints.narrow(keep)
            for group in groups:
                group.narrow(keep)
            parents = [some[keep] for some in parents]
        offsets = [0 if length == 1 else number * width for number in range(len(groups))]
        state = model.reorder(
            state, torch.cat([p + o for p, o in zip(parents, offsets, strict=True)], dim=-1)
        )
        slots = torch.cat([g.chosen.slots for g in groups if g.chosen is not None], dim=-1)
        log_probs, state = model.step(slots, state)
    return replies


def _groups(num_inputs: int, options: SearchOptions, device: torch.device) -> Iterator[_Group]:
    width = options.beam // options.groups
    own = replace(options, kind="beam", beam=width, num_best=min(options.num_best, width))
    for _ in range(options.groups):
        live = empty_hypotheses(num_inputs, device)
        yield _Group(live, live.log_probs, Finished(num_inputs, own, device), live)


def _with_own_values(found: Candidates, log_probs: Tensor, live: Live) -> Candidates:
    """Returns the same candidates with the model's values in place of the penalised ones."""
    places = found.parents * log_probs.size(-1) + found.slots
    tokens = log_probs.flatten(1).gather(-1, places).double()
    sums = live.log_probs.gather(-1, found.parents) + tokens
    sums = sums.masked_fill(found.log_probs == -torch.inf, -torch.inf)
    return Candidates(found.parents, found.slots, tokens, sums)


def _merged(
    groups: list[_Group], row: int, position: int, options: SearchOptions
) -> list[Hypothesis]:
    """Returns an input's replies: the groups' best, then their second ones, best score first."""
    lists = [group.finished.replies[position] for group in groups]
    for last in ("live", "before"):  # as beam search: those that go on, or went on until now
        if not any(lists):
            lists = [unfinished_replies(getattr(g, last), row, g.finished.options) for g in groups]
    taken: dict[tuple[int, ...], Hypothesis] = {}
    for rank in range(max(map(len, lists))):
        level = [replies[rank] for replies in lists if rank < len(replies)]
        for reply in sorted(level, key=lambda one: -one.score):
            if len(taken) < options.num_best:
                taken.setdefault(reply.slots, reply)
    return sorted(taken.values(), key=lambda one: -one.score)
