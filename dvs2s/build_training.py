"""From a configuration to what is trained: model, objective, worker and optimiser."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from dvs2s.build import content_shares, model_sizes
from dvs2s.config import (
    PLAIN,
    ObjectiveConfig,
    OptimConfig,
    TrainConfig,
)
from dvs2s.data.corpus import PreparedData
from dvs2s.errors import ConfigError
from dvs2s.layers.topics import Topics
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.bounds import BoundOptions
from dvs2s.objectives.cross_entropy import CrossEntropy
from dvs2s.objectives.cvae import Cvae
from dvs2s.objectives.dvs2s import Joint, JointOptions
from dvs2s.objectives.prior import price_for_budget, prior_beta
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.separate import Separate
from dvs2s.objectives.ta_s2s import TopicAware
from dvs2s.objectives.word_loss import Negatives, WordLoss
from dvs2s.objectives.words import Words
from dvs2s.parallel.group import Group
from dvs2s.parallel.replica import Replica
from dvs2s.text.torchtext_adapter import load_vectors
from dvs2s.text.vocabulary import Vocabulary
from dvs2s.topics import TopicOptions, topic_counts
from dvs2s.training import schedule as schedules

logger = logging.getLogger("dvs2s")


def new_model(config: TrainConfig, data: PreparedData) -> Dvs2sModel:
    """Returns an untrained model: word vectors where given, β at the words' shares of responses."""
    model = Dvs2sModel(model_sizes(config.model, data.vocabulary))
    model.output.chunk = config.trainer.logits_chunk
    if config.trainer.compile:
        model.decoder.compile_unrolling()
    if config.data.vectors:
        _set_vectors(model, Path(config.data.vectors), data.vocabulary)
    if model.topics is not None:
        _set_topics(model.topics, config, data)
    if config.objective.kind in PLAIN:
        return model
    negatives, price = _word_rules(config.objective, data)
    form = config.objective.price_form
    beta = prior_beta(content_shares(data), negatives, price, form)  # type: ignore[arg-type]
    model.word_predictor.set_prior(beta.float())
    return model


def new_objective(config: TrainConfig, model: Dvs2sModel, data: PreparedData) -> nn.Module:
    """Returns the objective that owns ``model``."""
    options = config.objective
    if options.kind == "cross_entropy":
        return CrossEntropy(model)
    if options.kind == "ta_s2s":
        return TopicAware(model)
    if options.kind == "cvae":
        updates = round(options.anneal_share * config.trainer.max_updates)
        return Cvae(model, anneal_updates=updates, bow_weight=options.bow_weight)
    negatives, price = _word_rules(options, data)
    counts = torch.from_numpy(data.response_counts[data.vocabulary.num_fixed :].copy())
    word_loss = WordLoss(negatives, counts)
    row_price = RowPrice(
        form=options.price_form,  # type: ignore[arg-type]
        price=price,
        budget=options.budget,
        rate=options.budget_rate,
    )
    if options.kind == "words":
        return Words(model, word_loss=word_loss, price=row_price)
    if options.kind == "separate":
        return Separate(model, word_loss=word_loss, price=row_price)
    baseline = Baseline(options.baseline, momentum=options.momentum)  # type: ignore[arg-type]
    joint = JointOptions(
        pretrain_updates=round(options.pretrain_share * config.trainer.max_updates),
        bound=_bound(options, len(counts)),
        full_share=options.full_share,
    )
    return Joint(model, word_loss=word_loss, price=row_price, baseline=baseline, options=joint)


def _bound(options: ObjectiveConfig, content: int) -> BoundOptions:
    """Returns which bound is climbed, over ``content`` content words."""
    if options.extra_words >= content:
        raise ConfigError(
            f"objective.extra_words must be below the vocabulary's {content} content words, got "
            f"{options.extra_words}: for all of them use objective.full_weight"
        )
    return BoundOptions(
        kind=options.bound,  # type: ignore[arg-type]
        num_samples=options.num_samples,
        estimator=options.estimator,  # type: ignore[arg-type]
        full_weight=options.full_weight,
        extra_rate=options.extra_words / content,
    )


def _word_rules(options: ObjectiveConfig, data: PreparedData) -> tuple[Negatives, float]:
    """Returns what pushes β down: the negatives, and the price of a row to start from."""
    chosen = options.negatives
    negatives = Negatives(chosen.kind, chosen.weight, chosen.number, chosen.exponent)  # type: ignore[arg-type]
    if not options.budget:
        return negatives, options.price
    fixed, words = data.vocabulary.num_fixed, len(data.vocabulary)
    if not fixed < options.budget < words:
        raise ConfigError(
            f"objective.budget must lie between the {fixed} special and function words and the "
            f"vocabulary's {words}, got {options.budget:g}: set objective.budget=N and "
            f"search.size=N in between"
        )
    content, form = options.budget - fixed, options.price_form
    price = price_for_budget(content_shares(data), negatives, content, form)  # type: ignore[arg-type]
    return negatives, price


def new_replica(config: TrainConfig, objective: nn.Module, group: Group) -> Replica:
    """Returns the objective as this worker trains it.

    The gradients of word embeddings, and of the output layer where a sampled T leaves rows out,
    go row by row.
    """
    embeddings = [m for m in objective.modules() if isinstance(m, nn.Embedding)]
    tables: list[Tensor] = [m.weight for m in embeddings]
    if isinstance(objective, Joint):
        tables.append(objective.model.output.projection.weight)
    return Replica(
        objective,
        group,
        tables=tables,
        precision=config.trainer.precision,  # type: ignore[arg-type]
        # a plain model leaves its word predictor alone, and who knows what other objectives do
        uses_all=isinstance(objective, Joint | Separate) and _owns_model_only(objective),
    )


def _owns_model_only(objective: Joint | Separate) -> bool:
    model = objective.model
    is_plain = model.latent is None and model.topic_output is None
    return is_plain and len(list(objective.parameters())) == len(list(model.parameters()))


def new_optimizer(
    config: OptimConfig, objective: nn.Module, *, max_updates: int
) -> tuple[torch.optim.Optimizer, schedules.Schedule]:
    """Returns the optimiser and its learning-rate rule."""
    parameters = list(objective.parameters())
    if config.kind == "adadelta":
        optimizer = schedules.adadelta(parameters, lr=config.lr, weight_decay=config.weight_decay)
        return optimizer, schedules.HalveOnPlateau(
            config.lr, patience=config.patience, min_lr=config.min_lr
        )
    adamw = schedules.adamw(
        parameters, lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay
    )
    rule = schedules.WarmUp(
        config.lr,
        warmup=config.warmup,
        decay=config.decay,
        total=max_updates if config.decay == "cosine" else None,
        min_lr=config.min_lr,
    )
    return adamw, rule


def _set_topics(topics: Topics, config: TrainConfig, data: PreparedData) -> None:
    options = TopicOptions(
        config.model.num_topics,
        common=config.objective.topic_common,
        passes=config.objective.topic_passes,
        max_pairs=config.objective.topic_pairs,
    )
    counts = topic_counts(data, options, progress=config.trainer.progress != "none")
    try:
        topics.set_counts(torch.from_numpy(counts))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _set_vectors(model: Dvs2sModel, path: Path, vocabulary: Vocabulary) -> None:
    matrix, found = load_vectors(path, list(vocabulary.words))
    if matrix.shape[1] != model.sizes.embedding_size:
        raise ConfigError(
            f"data.vectors={path} has vectors of width {matrix.shape[1]}: set "
            f"model.embedding_size={matrix.shape[1]}, got {model.sizes.embedding_size}"
        )
    rows = torch.from_numpy(found)
    with torch.no_grad():
        model.embedding.weight[rows] = torch.from_numpy(matrix)[rows]
    logger.info("word vectors for %d of %d words", int(rows.sum()), len(vocabulary))
