"""What a finished job reports: its values for the sweeper, its sizes for scaling laws."""

import time
from pathlib import Path
from statistics import median

from dvs2s.build import loader, prepared_data, training_pairs
from dvs2s.config import TrainConfig
from dvs2s.data.batch import make_batch
from dvs2s.data.corpus import PreparedData
from dvs2s.loading import load
from dvs2s.model import Dvs2sModel
from dvs2s.responder import Responder
from dvs2s.sweeps.job import Measured
from dvs2s.training.checkpoint import read_state, resolve
from dvs2s.training.loop import Outcome


def measure_run(config: TrainConfig, outcome: Outcome) -> Measured:
    """Returns what the run in ``config.trainer.run`` came to.

    Values: "loss" in nats a response word; where asked for, "parameters" and "decode_ms", the
    median milliseconds of a validation message with the run's own search, alone in its batch.
    Facts: "parameters"; "pairs" trained on; "updates"; "tokens" that all updates saw, response
    words with their ends; "compute", 6 x tokens x parameters without the table of embeddings, an
    estimate in FLOP; "seconds" of training.
    """
    run = Path(config.trainer.run)
    responder = load(run, device=config.trainer.device)
    data = prepared_data(config.data, progress=False)
    pairs = training_pairs(config, data, "train")
    words = int(pairs.response_lengths.sum()) + len(pairs)
    batches = loader(config, pairs).batches_per_epoch
    tokens = words / batches * config.trainer.accumulate * outcome.update
    parameters = sum(p.numel() for p in responder.model.parameters())
    facts = {
        "parameters": float(parameters),
        "pairs": float(len(pairs)),
        "words": float(words),
        "updates": float(outcome.update),
        "tokens": tokens,
        "compute": 6.0 * tokens * (parameters - _looked_up(responder.model)),
        "seconds": float(read_state(resolve(run, "last"))["loop"]["seconds"]),
    }
    values = {}
    if "parameters" in config.sweep.returns:
        values["parameters"] = facts["parameters"]
    if outcome.best_loss is not None:
        values["loss"] = outcome.best_loss
    if "decode_ms" in config.sweep.returns:
        values["decode_ms"] = decode_ms(responder, data, count=config.sweep.decode_messages)
    return Measured(values, facts, str(run), outcome.reason == "pruned")


def decode_ms(responder: Responder, data: PreparedData, *, count: int) -> float:
    """Returns the median milliseconds that a message takes, alone in its batch.

    Args:
        responder: searches as it was trained to.
        data: messages spread over its validation split, or its training split without one.
        count: messages, at least 1; the first is answered once more, before the clock starts.
    """
    pairs = data.split("valid" if "valid" in data.splits else "train")
    places = [i * len(pairs) // count for i in range(min(count, len(pairs)))]
    seconds = []
    for place in [places[0], *places]:
        batch = make_batch([pairs.message(place)], None, [place]).to(responder.device)
        start = time.perf_counter()
        responder.answers_to_batch(batch)
        seconds.append(time.perf_counter() - start)
    return 1000.0 * median(seconds[1:])


def _looked_up(model: Dvs2sModel) -> int:
    """Returns the parameters that are read by row and never multiplied."""
    return model.embedding.weight.numel()
