"""Trains the same model by different objectives side by side, each on a clock of its own.

All start from one checkpoint (of a joint run's first stage) and its optimiser's state, see the same
batches in the same order, and take turns of a few updates, so that they share the machine's noise.
The clock is the process's own seconds, validation not counted. What is measured is the same for
all: the bounds (B1), (B2) and of many samples, and the cross-entropy over the full vocabulary, on
part of the validation split.

    python benchmarks/objective_race.py --start CHECKPOINT --data PREPARED --out race.json
        [--keep FOLDER] [--updates 200] [--only closed_form monte_carlo ...]
"""

import argparse
import copy
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dvs2s.bench.timing import environment
from dvs2s.build import loader
from dvs2s.build_training import new_model, new_objective, new_optimizer
from dvs2s.config import ObjectiveConfig, TrainConfig
from dvs2s.data.batch import Batch
from dvs2s.data.corpus import PreparedData
from dvs2s.loading import read_train_config
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.closed_form import log_weights
from dvs2s.objectives.gold import gold_membership
from dvs2s.objectives.lower_bound import sample_vocabularies
from dvs2s.training.checkpoint import load_optimizer, load_tensors, resolve
from dvs2s.training.resume import Saver
from dvs2s.training.seeds import mix
from dvs2s.training.signals import StopSignal
from dvs2s.training.update import run_update

_LOCAL = {"estimator": "local_expectation"}
_SCORE = {"estimator": "score_function", "num_samples": 5}
_CLOSED = {"bound": "closed_form"}
CONTENDERS: dict[str, dict[str, Any]] = {
    "closed_form": _CLOSED,
    "monte_carlo, 5, leave-one-out": _SCORE | {"baseline": "leave_one_out"},
    "monte_carlo, 5, running": _SCORE | {"baseline": "running"},
    "monte_carlo, 2, local expectation": _LOCAL | {"num_samples": 2},
    "multi_sample, 5, local expectation": _LOCAL | {"bound": "multi_sample", "num_samples": 5},
    "separate": {"kind": "separate"},
    "closed_form, full_weight 0.1": _CLOSED | {"full_weight": 0.1},
    "closed_form, full_share 0.1": _CLOSED | {"full_share": 0.1},
    "closed_form, extra_words 500": _CLOSED | {"extra_words": 500},
}
_SAMPLES = 20  # of (B1) and the multi-sample bound in validation


@dataclass
class Runner:
    """One contender: its objective, its batches, and the seconds it has used."""

    name: str
    config: TrainConfig
    objective: torch.nn.Module
    optimizer: torch.optim.Optimizer
    batches: Any
    update: int = 0
    seconds: float = 0.0
    wall: float = 0.0

    def advance(self, updates: int, lr: float) -> None:
        """Makes updates at one learning rate."""
        self.objective.train()
        for _ in range(updates):
            self.update += 1
            begin = getattr(self.objective, "begin_update", None)
            start, wall = time.process_time(), time.perf_counter()
            if begin is not None:
                begin(self.update)
            torch.manual_seed(mix(self.config.trainer.seed, self.update))
            run_update(
                self.objective,
                [next(self.batches)],
                optimizer=self.optimizer,
                lr=lr,
                clip_norm=self.config.optim.clip_norm,
            )
            self.seconds += time.process_time() - start
            self.wall += time.perf_counter() - wall


@torch.no_grad()
def measure(model: Dvs2sModel, batches: list[Batch]) -> dict[str, float]:
    """Returns nats a response word of every bound, and E|T|, over the batches."""
    sums: dict[str, float] = {}
    model.eval()
    for number, batch in enumerate(batches):
        torch.manual_seed(mix(0, number))
        for name, value in _measure(model, batch).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    tokens, pairs = sum(b.num_tokens for b in batches), sum(len(b) for b in batches)
    size = model.sizes.num_fixed + sums.pop("size") / pairs
    return {name: value / tokens for name, value in sums.items()} | {"expected_size": size}


def _measure(model: Dvs2sModel, batch: Batch) -> dict[str, Tensor]:
    encoded = model.encode(batch.messages, batch.message_lengths)
    hidden, logits = model.unroll(encoded, batch.responses), model.predict_words(encoded)
    mask = batch.response_mask
    gold = gold_membership(batch.responses, mask, model.sizes.vocabulary_size)
    content = gold[:, model.sizes.num_fixed :]
    inside = (torch.nn.functional.softplus(-logits) * content).sum()
    membership = sample_vocabularies(logits, gold, _SAMPLES)
    sampled = model.output.losses(hidden, membership, batch.responses) * mask[:, None]
    rewards = -sampled.sum(-1)  # (B, M)
    beta = log_weights(logits, torch.zeros_like(gold))
    weights = torch.cat([log_weights(logits, gold), torch.zeros_like(beta), beta], dim=1)
    weighed = model.output.weighted_losses(hidden, weights, batch.responses) * mask[:, None]
    of_b2, full, soft = weighed.sum((0, 2))
    words = (beta[:, 0].gather(1, batch.responses) * mask).sum()  # log β of the words themselves
    multi = rewards.logsumexp(1) - math.log(_SAMPLES)
    return {
        "B1": inside - rewards.mean(1).sum(),
        "B2": inside + of_b2,
        "multi": inside - multi.sum(),
        "positive": inside,
        "full": full,
        "soft": soft - words,
        "size": logits.sigmoid().sum(),
    }


def main() -> None:
    """Runs the race and writes what was measured after every round."""
    options = _parser().parse_args()
    torch.set_num_threads(1)
    folder = resolve(options.start, "last")
    base, data = read_train_config(folder), PreparedData.open(Path(options.data))
    base.trainer.batch_size = options.batch
    chosen = {n: c for n, c in CONTENDERS.items() if not options.only or n in options.only}
    runners = [_runner(name, own, base, data, folder) for name, own in chosen.items()]
    batches = _validation(base, data, options.pairs)
    curves: dict[str, list[dict[str, float]]] = {runner.name: [] for runner in runners}
    report = {"environment": environment(), "options": vars(options), "curves": curves}
    with StopSignal() as stop:  # what was trained until then is kept
        for turn in tqdm(range(options.updates // options.turn + 1), desc="rounds"):
            if stop.requested:
                break
            for runner in runners:
                if turn:
                    runner.advance(options.turn, options.lr)
                if turn * options.turn % options.every == 0:
                    found = measure(runner.objective.model, batches)  # type: ignore[arg-type]
                    place = {"update": runner.update}
                    place |= {"cpu_s": runner.seconds, "wall_s": runner.wall}
                    curves[runner.name].append(place | found)
                    Path(options.out).write_text(json.dumps(report, indent=1) + "\n")
    if options.keep:
        for runner in runners:
            _keep(runner, Path(options.keep), data)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", required=True, help="a checkpoint of a joint run's first stage")
    parser.add_argument("--data", required=True, help="the prepared corpus it was trained on")
    parser.add_argument("--out", required=True, help="file for the curves, JSON")
    parser.add_argument("--keep", default="", help="folder for the trained runs")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--turn", type=int, default=10, help="updates a turn")
    parser.add_argument("--every", type=int, default=40, help="updates between measurements")
    parser.add_argument("--pairs", type=int, default=384, help="of the validation split")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(CONTENDERS))
    return parser


def _runner(
    name: str, own: dict[str, Any], base: TrainConfig, data: PreparedData, folder: Path
) -> Runner:
    config = copy.deepcopy(base)
    config.objective = ObjectiveConfig(**vars(replace(base.objective, pretrain_share=0.0, **own)))
    config.optim.decay = "constant"
    torch.manual_seed(config.trainer.seed)
    model = new_model(config, data)
    objective = new_objective(config, model, data)
    saved, state = load_tensors(folder, "objective"), objective.state_dict()
    objective.load_state_dict(state | {k: v for k, v in saved.items() if k in state})
    optimizer, _ = new_optimizer(config.optim, objective, max_updates=10**6)
    load_optimizer(folder, optimizer, objective.named_parameters())
    return Runner(name, config, objective, optimizer, loader(config, data.split("train")))


def _validation(base: TrainConfig, data: PreparedData, pairs: int) -> list[Batch]:
    """Returns batches spread evenly over the validation split, shortest first."""
    every = list(loader(base, data.split("valid"), shuffle=False).one_epoch())
    count = max(1, min(len(every), pairs // base.trainer.batch_size))
    return [every[i * len(every) // count] for i in range(count)]


def _keep(runner: Runner, folder: Path, data: PreparedData) -> None:
    name = "".join(c if c.isalnum() else "_" for c in runner.name)
    config = copy.deepcopy(runner.config)
    config.trainer.run = str(folder / name)
    config.data.prepared = str(data.folder)
    prints = {"data": data.fingerprint, "vocabulary": data.vocabulary.fingerprint}
    saver = Saver(
        folder / name,
        runner.objective,
        runner.optimizer,
        {"train": asdict(config), "fingerprints": prints},
        Path(data.folder) / "vocabulary.json",
    )
    saver(runner.update, {"race": True}, is_best=True)


if __name__ == "__main__":
    main()
