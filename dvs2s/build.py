"""From a configuration to data, sizes and shortlists: what every command starts from."""

import logging
from pathlib import Path

import torch
from torch import Tensor

from dvs2s.config import (
    SHORTLISTS,
    DataConfig,
    ModelConfig,
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
from dvs2s.model import ModelSizes
from dvs2s.paths import embedded_corpus
from dvs2s.shortlists import FrequencyShortlist, LexicalShortlist, Shortlist
from dvs2s.text.vocabulary import Vocabulary
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
