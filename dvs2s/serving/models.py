"""The models of the engine process: loaded, in the precision asked for, and described."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dvs2s.backends import EngineBackend
from dvs2s.devices import say_kernels
from dvs2s.engine.engine import why_unavailable
from dvs2s.loading import load
from dvs2s.model import Dvs2sModel
from dvs2s.ops.extension import describe
from dvs2s.responder import Responder
from dvs2s.serving.wire import ModelInfo

logger = logging.getLogger("dvs2s")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Of the plain search."""


def load_models(settings: dict[str, Any]) -> tuple[dict[str, Responder], list[ModelInfo]]:
    """Returns the models by name, and what the front has to know about them.

    Args:
        settings: ``models`` (name to folder), ``device``, ``engine``, ``precision``, ``search``
            (settings other than the checkpoints').

    Raises:
        Dvs2sError: a checkpoint is missing or damaged, or the device.
        ValueError: there is no such engine or precision here.
    """
    models = {}
    for name, folder in settings["models"].items():
        responder = _load(folder, settings["device"], settings["engine"], settings["precision"])
        models[name] = responder
        wanted = settings["search"] if responder.has_word_predictor else _plain(settings["search"])
        responder.config.search = responder.search_config(**wanted)
        if responder.config.search.generic_share < 1:
            raise ValueError(
                f"search.generic_share={responder.config.search.generic_share:g} chooses among "
                f"finished replies, which the server does not do: leave it out"
            )
    say_kernels(settings["device"])
    infos = [_info(name, bot, settings["precision"]) for name, bot in models.items()]
    return models, infos


def _load(folder: str, device: str, engine: Any, precision: Any) -> Responder:
    """Returns a responder; the plain search has bf16 of its own."""
    is_plain = engine == "plain" or not device.startswith("cpu")
    if engine == "auto" and not is_plain:
        is_plain = bool(why_unavailable())
    if precision != "bf16" or not is_plain:
        return load(folder, device=device, engine=engine, precision=precision)
    responder = load(folder, device=device, engine=engine)
    set_precision(responder.model, precision)
    return responder


def set_precision(model: Dvs2sModel, precision: str) -> None:
    """Rounds the weights of encoder, decoder and output; word prediction stays exact.

    It is run once a message and chooses among close probabilities.

    Raises:
        ValueError: a precision that is not one of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    for name, part in model.named_children():
        if name != "word_predictor":
            part.to(PRECISIONS[precision])


def _plain(search: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that a model without a word predictor can follow, too."""
    choosing = ("vocabulary", "size", "threshold", "alpha", "message_words")
    return {
        name: value
        for name, value in search.items()
        if name not in choosing and not name.startswith("coverage_")
    }


def _info(name: str, bot: Responder, precision: str) -> ModelInfo:
    source = bot.source or Path(name)
    weights = source / "model.safetensors"
    objective = bot.config.objective
    is_compiled = isinstance(bot.backend, EngineBackend)
    what = bot.backend.describe()
    return ModelInfo(
        name=name,
        source="/".join(source.parts[-3:]),
        words=len(bot.vocabulary),
        fixed=bot.vocabulary.num_fixed,
        predicts=bot.has_word_predictor,
        sane_outside=objective.kind != "joint" or objective.full_weight > 0,
        search=asdict(bot.search_config()),
        turns=bot.config.data.context_turns,
        parameters=sum(p.numel() for p in bot.model.parameters()),
        device=str(bot.device),
        precision=precision,
        kernels=what if is_compiled else f"{what}, {describe(str(bot.device))}",
        created=int(weights.stat().st_mtime) if weights.exists() else 0,
        guarantees=_guarantees(bot),
    )


def _guarantees(bot: Responder) -> tuple[tuple[float, str, bool], ...]:
    calibration = bot.selector.calibration
    levels = calibration.levels if calibration is not None else ()
    return tuple((level.alpha, level.kind, level.message_words) for level in levels)
