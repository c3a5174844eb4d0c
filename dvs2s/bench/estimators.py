"""How noisy each estimator of the joint objective's gradient is, and what an update costs.

The batch, the decoder's states and β are held; only T is drawn anew. So the variance is that of
the estimator and not of the data. Baselines that remember or learn are warmed up on other batches.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dvs2s.bench.baselines import warm_up as warm_baselines
from dvs2s.bench.baselines import word_terms_of
from dvs2s.bench.timing import Timed, interleave
from dvs2s.data.batch import Batch
from dvs2s.layers.encoder import Encoded
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.baselines import KINDS, Baseline, BaselineKind
from dvs2s.objectives.bounds import Bound, BoundKind, BoundOptions, Estimator
from dvs2s.objectives.cross_entropy import encode, full_cross_entropy
from dvs2s.objectives.reward_predictor import RewardPredictor


@dataclass(frozen=True)
class Preset:
    """How much is measured: pairs a batch, batches, draws of each, warm-up batches, rounds."""

    pairs: int
    batches: int
    draws: int
    warm_up: int
    rounds: int


PRESETS = {
    "smoke": Preset(4, 1, 3, 2, 2),
    "quick": Preset(16, 1, 15, 40, 5),
    "full": Preset(32, 2, 30, 60, 9),
}


@dataclass(frozen=True)
class Contender:
    """One way to make the gradient."""

    bound: BoundKind
    samples: int = 1
    estimator: Estimator = "score_function"
    baseline: BaselineKind = "none"

    @property
    def name(self) -> str:
        """What it is called in tables."""
        if self.bound == "closed_form":
            return "closed form"
        way = self.baseline.replace("_", "-") if self.estimator == "score_function" else "local"
        return f"{self.bound.replace('_', ' ')}, {self.samples}, {way}"


def _contenders() -> Iterator[Contender]:
    for baseline in KINDS:
        yield Contender("monte_carlo", 5, "score_function", baseline)
    yield Contender("monte_carlo", 1, "score_function", "closed_form")
    yield Contender("monte_carlo", 1, "local_expectation")
    yield Contender("monte_carlo", 2, "local_expectation")
    yield Contender("monte_carlo", 5, "local_expectation")
    yield Contender("multi_sample", 5, "score_function", "leave_one_out")
    yield Contender("multi_sample", 5, "local_expectation")
    yield Contender("closed_form")


CONTENDERS = tuple(_contenders())
REFERENCE = Contender("monte_carlo", 5, "score_function", "running").name  # the paper's


def run(
    preset: str, model: Dvs2sModel, warm_up: Sequence[Batch], batches: Sequence[Batch]
) -> dict[str, Any]:
    """Returns the report: one row a contender.

    Args:
        preset: a name of ``PRESETS``.
        model: a trained one; its parameters stay as they are.
        warm_up: batches that baselines learn from.
        batches: the ones measured on, none of them among the others.

    Raises:
        ValueError: an unknown preset, or no batch.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    if not warm_up or not batches:
        raise ValueError("warm_up and batches must hold at least one batch each, got none")
    model.eval()  # dropout would be counted as the estimator's noise
    bounds = {c.name: _bound(c, model) for c in CONTENDERS}
    spread = warm_baselines(model, list(bounds.values()), warm_up)
    noise: dict[str, list[Noise]] = {name: [] for name in bounds}
    for batch in batches:
        held = Held(model, batch)
        best = Contender("monte_carlo", 5, "local_expectation").name
        towards = _noise(held, bounds[best], PRESETS[preset].draws, None).mean
        for name, bound in tqdm(bounds.items(), desc="estimators", disable=None):
            draws = 1 if name == "closed form" else PRESETS[preset].draws
            noise[name].append(_noise(held, bound, draws, towards))
    timed = _times(model, bounds, batches[0], PRESETS[preset].rounds)
    rows = [_row(c, noise, timed) for c in CONTENDERS]
    return {"preset": preset, "reward_spread": spread, "rows": rows, **asdict(PRESETS[preset])}


@dataclass(frozen=True)
class Noise:
    """Of one contender on one batch.

    Args:
        words: variance of the gradient in the word predictor's parameters, summed over them.
        decoder: the same in the decoder's states and the output rows.
        signal: squared norm of the mean gradient in the word predictor's parameters.
        cosine: of that mean to the reference's.
        mean: the mean gradient itself.
    """

    words: float
    decoder: float
    signal: float
    cosine: float
    mean: Tensor


class Held:
    """A batch whose decoder states are made once; β stays joined to the word predictor."""

    def __init__(self, model: Dvs2sModel, batch: Batch) -> None:
        self.model, self.batch = model, batch
        with torch.no_grad():
            self.encoded: Encoded = encode(model, batch)
            self.hidden = model.unroll(self.encoded, batch.responses)
        self.words = word_terms_of(model, self.encoded, batch)

    def gradient(self, bound: Bound) -> tuple[Tensor, Tensor]:
        """Returns one estimate of the gradient a word: of β's network, and of the decoder's end."""
        hidden = self.hidden.detach().requires_grad_()
        likelihood = bound(
            self.model,
            final=self.encoded.final,
            hidden=hidden,
            words=self.words,
            batch=self.batch,
        )
        own = list(self.model.word_predictor.parameters())
        ends = [hidden, *self.model.output.parameters()]
        loss = likelihood.loss / self.batch.num_tokens
        grads = torch.autograd.grad(loss, [*own, *ends], allow_unused=True, retain_graph=True)
        flat = [g.flatten() for g in grads if g is not None]
        return torch.cat(flat[: len(own)]), torch.cat(flat[len(own) :])


def _bound(contender: Contender, model: Dvs2sModel) -> Bound:
    learned = contender.baseline == "learned"
    options = BoundOptions(contender.bound, contender.samples, contender.estimator)
    predictor = RewardPredictor(model.sizes.hidden_size) if learned else None
    return Bound(options, Baseline(contender.baseline), predictor)


def _noise(held: Held, bound: Bound, draws: int, towards: Tensor | None) -> Noise:
    """Returns mean and variance over the draws, by Welford's running sums."""
    means, squares = [torch.zeros(()), torch.zeros(())], [0.0, 0.0]
    for count in range(1, draws + 1):
        for place, gradient in enumerate(held.gradient(bound)):
            off = gradient - means[place]
            means[place] = means[place] + off / count
            squares[place] += float((off * (gradient - means[place])).sum(dtype=torch.float64))
    words, decoder = (total / max(draws - 1, 1) for total in squares)
    mean = means[0]
    cosine = math.nan
    if towards is not None:
        both = mean.double(), towards.double()
        cosine = float(torch.nn.functional.cosine_similarity(*both, dim=0))
    return Noise(words, decoder, float(mean.square().sum()), cosine, mean)


def _times(
    model: Dvs2sModel, bounds: dict[str, Bound], batch: Batch, rounds: int
) -> dict[str, Timed]:
    """Times whole updates but for the optimiser's step, in turn; cross-entropy beside them."""

    def update(loss: Callable[[Encoded, Tensor], Tensor]) -> Callable[[int], dict[str, float]]:
        def call(_: int) -> dict[str, float]:
            model.zero_grad(set_to_none=True)
            encoded = encode(model, batch)
            hidden = model.unroll(encoded, batch.responses)
            torch.autograd.backward(loss(encoded, hidden) / batch.num_tokens)
            return {}

        return call

    def of(bound: Bound) -> Callable[[Encoded, Tensor], Tensor]:
        def loss(encoded: Encoded, hidden: Tensor) -> Tensor:
            words = word_terms_of(model, encoded, batch)
            found = bound(model, final=encoded.final, hidden=hidden, words=words, batch=batch)
            return found.loss + words.loss

        return loss

    def plain(encoded: Encoded, hidden: Tensor) -> Tensor:
        words = word_terms_of(model, encoded, batch)
        return full_cross_entropy(model, hidden, batch).sum() + words.loss

    losses = {"pre-training": plain} | {name: of(bound) for name, bound in bounds.items()}
    runs = [update(loss) for loss in losses.values()]
    timed = interleave(runs, rounds=rounds, warm_up=1, title="updates", clock="cpu")
    model.zero_grad(set_to_none=True)
    return dict(zip(losses, timed, strict=True))


def _row(
    contender: Contender, noise: dict[str, list[Noise]], timed: dict[str, Timed]
) -> dict[str, Any]:
    def mean(name: str, of: str) -> float:
        return sum(float(getattr(n, of)) for n in noise[name]) / len(noise[name])

    name = contender.name
    return {
        "name": name,
        **asdict(contender),
        "variance": mean(name, "words"),
        "over_running": mean(name, "words") / max(mean(REFERENCE, "words"), 1e-300),
        "decoder_variance": mean(name, "decoder"),
        "signal": mean(name, "signal"),
        "cosine": mean(name, "cosine"),
        "seconds": timed[name].spread(),
        "over_pretraining": timed[name].median() / timed["pre-training"].median(),
    }


def table(report: dict[str, Any]) -> str:
    """Returns the report as a Markdown table."""
    lines = [
        "| estimator | variance of β's gradient | x running | of the decoder's | noise / signal "
        "| cosine to (B1) | CPU ms | x pre-training |",
        "|---|" + "---:|" * 7,
    ]
    for row in report["rows"]:
        ratio = row["variance"] / row["signal"] if row["signal"] else math.nan
        lines.append(
            f"| {row['name']} | {row['variance']:.3g} | {row['over_running']:.2g} "
            f"| {row['decoder_variance']:.3g} | {ratio:.2g} | {row['cosine']:.2f} "
            f"| {row['seconds']['median'] * 1e3:.0f} | {row['over_pretraining']:.2f} |"
        )
    return "\n".join(lines)
