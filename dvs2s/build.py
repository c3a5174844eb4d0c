"""The composition root: a configuration becomes data, model, objective, optimiser and search."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from dvs2s.config import (
    PLAIN,
    SHORTLISTS,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    TrainConfig,
)
from dvs2s.data.corpus import PreparedData
from dvs2s.data.loader import BucketSampler, Loader
from dvs2s.data.options import PrepareOptions
from dvs2s.data.pairings import SizedPairs, paired
from dvs2s.data.prefetch import Prefetched
from dvs2s.data.prepare import is_current, prepare
from dvs2s.data.sample import Sample
from dvs2s.errors import ConfigError
from dvs2s.layers.topics import Topics
from dvs2s.model import Dvs2sModel, ModelSizes
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
from dvs2s.paths import embedded_corpus
from dvs2s.shortlists import FrequencyShortlist, LexicalShortlist, Shortlist
from dvs2s.text.torchtext_adapter import load_vectors
from dvs2s.text.vocabulary import Vocabulary
from dvs2s.topics import TopicOptions, topic_counts
from dvs2s.training import schedule as schedules
from dvs2s.training.lock import RunLock

logger = logging.getLogger("dvs2s")


def sources(data: DataConfig) -> dict[str, list[Path]]:
    """Returns the raw files of each split; splits without a file are left out.

    Raises:
        ConfigError: no training file is named.
    """
    root = embedded_corpus() if data.root == "embedded" else Path(data.root)
    named = {"train": data.train, "valid": data.valid, "test": data.test}
    found = {split: [root / name for name in names] for split, names in named.items() if names}
    if "train" not in found:
        raise ConfigError("data.train names no file: set data.train=[train.tsv]")
    return found


def prepare_options(data: DataConfig) -> PrepareOptions:
    """Returns the options of preparation that the configuration asks for."""
    extra = {"workers": data.workers} if data.workers else {}
    return PrepareOptions(
        format=data.format,
        tokenizer=data.tokenizer,
        context_turns=data.context_turns,
        vocabulary_size=data.vocabulary_size,
        min_count=data.min_count,
        function_words=data.function_words,
        max_message_tokens=data.max_message_tokens,
        max_response_tokens=data.max_response_tokens,
        max_malformed_share=data.max_malformed_share,
        drop_train_duplicates=data.drop_train_duplicates,
        **extra,
    )


def prepared_data(data: DataConfig, *, progress: bool) -> PreparedData:
    """Returns the prepared form of the corpus, preparing it when it is missing or out of date."""
    folder, files, options = Path(data.prepared), sources(data), prepare_options(data)
    if not is_current(folder, files, options):
        # the jobs of a sweep begin together, and one of them prepares for all
        with RunLock(folder.parent, name=f".{folder.name}.lock", wait=True):
            if not is_current(folder, files, options):
                logger.info("preparing %s in %s", data.name, folder)
                prepare(files, folder, options=options, progress=progress)
    return PreparedData.open(folder)


def model_sizes(config: ModelConfig, vocabulary: Vocabulary) -> ModelSizes:
    """Returns the widths of a model over this vocabulary."""
    return ModelSizes(
        vocabulary_size=len(vocabulary),
        num_fixed=vocabulary.num_fixed,
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
        bag_size=config.bag_size,
        predictor_size=config.predictor_size,
        dropout=config.dropout,
        latent_size=config.latent_size,
        num_topics=config.num_topics,
        topic_words=config.topic_words,
    )


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


def new_shortlist(kind: str, data: PreparedData) -> Shortlist:
    """Returns the shortlist ``frequency`` or ``lexical`` of the training split.

    Raises:
        ValueError: another kind.
    """
    match kind:
        case "frequency":
            return FrequencyShortlist(content_shares(data))
        case "lexical":
            shares, fixed = content_shares(data), data.vocabulary.num_fixed
            return LexicalShortlist(data.split("train"), shares, num_fixed=fixed)
    raise ValueError(f"kind must be one of {', '.join(SHORTLISTS)}, got {kind!r}")


def content_shares(data: PreparedData) -> Tensor:
    """Returns the share of training responses that hold each content word, (C,) float64."""
    counts = torch.from_numpy(data.response_counts[data.vocabulary.num_fixed :].copy())
    return (counts.double() + 0.5) / (len(data.split("train")) + 1)


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


def training_pairs(config: TrainConfig, data: PreparedData, split: str) -> SizedPairs:
    """Returns a split's pairs as ``data.pairing`` reads them; of training ``data.fraction``."""
    pairs = paired(data.split(split), config.data.pairing)  # type: ignore[arg-type]
    if split != "train" or config.data.fraction == 1:
        return pairs
    return Sample(pairs, config.data.fraction, seed=config.trainer.seed)


def loader(config: TrainConfig, corpus: SizedPairs, *, shuffle: bool = True) -> Loader:
    """Returns length-bucketed batches of a split; the seed alone fixes their order."""
    sampler = BucketSampler(
        corpus.message_lengths,
        corpus.response_lengths,
        batch_size=config.trainer.batch_size or None,
        max_tokens=config.trainer.max_tokens or None,
        seed=config.trainer.seed,
        shuffle=shuffle,
    )
    return Loader(corpus, sampler)


def prefetched(config: TrainConfig, corpus: SizedPairs) -> Prefetched:
    """Returns the endless training batches, the next ones made ahead; the same in every worker."""
    on_gpu = config.trainer.device != "cpu"
    return Prefetched(loader(config, corpus), depth=config.trainer.prefetch, pin=on_gpu)


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
