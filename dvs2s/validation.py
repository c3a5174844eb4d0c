"""What a run measures on its validation split, and the replies that it shows."""

import logging
from dataclasses import replace

import torch
from torch import Tensor, nn

from dvs2s.build import loader, training_pairs
from dvs2s.config import SearchConfig, TrainConfig
from dvs2s.data.batch import Batch, make_batch
from dvs2s.data.corpus import PreparedData
from dvs2s.decoding.search import SearchOptions, search
from dvs2s.decoding.session import Session
from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.evaluation.vocabulary import VocabularyRecall
from dvs2s.layers.encoder import Encoded
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.terms import LossTerms
from dvs2s.parallel.group import SOLO, Group
from dvs2s.parallel.replica import part_of
from dvs2s.selection import Selector, check_size
from dvs2s.text.specials import EOS, SPECIALS, UNK
from dvs2s.text.tokenizer import get_tokenizer

logger = logging.getLogger("dvs2s")


def static_ranks(data: PreparedData) -> Tensor:
    """Returns (V,) int64: each word's place in the static list, the rival of every T.

    The list is the same for everybody: words by falling number of occurrences in the training
    responses; <unk> and the other special words, which are no words of a reply, come last.
    """
    counts = torch.from_numpy(data.split("train").count_response_words(len(data.vocabulary)))
    counts[: len(SPECIALS)] = -1
    return counts.sort(descending=True, stable=True).indices.argsort()


def new_recall(data: PreparedData) -> VocabularyRecall:
    """Returns an empty count of gold words in T, beside the static list of training responses."""
    return VocabularyRecall(
        num_words=len(data.vocabulary),
        num_fixed=data.vocabulary.num_fixed,
        unknown=UNK,
        static_ranks=static_ranks(data),
    )


def count_recall(recall: VocabularyRecall, batch: Batch, vocab: DynamicVocab) -> None:
    """Counts a batch's response words, the end of sentence left out."""
    words = batch.response_mask & (batch.responses != EOS)
    recall.update(batch.responses, words, vocab.membership())


class Validation:
    """The ``validate`` and ``samples`` of a training loop.

    ``loss`` is the negative bound a response word for a model that is trained jointly (the same
    measure in both of its stages), the cross-entropy for the others with a decoder, and the word
    loss for the word predictor alone.

    Args:
        config: the run's.
        objective: owns the model as ``objective.model``.
        data: the prepared corpus; without a ``valid`` split its training split is measured.
        group: the workers, which all call this: each measures its rows of every batch, and all
            get the values of the whole. The first one shows samples.

    Raises:
        ValueError: ``search.size`` has no room for the function words.
    """

    def __init__(
        self,
        config: TrainConfig,
        objective: nn.Module,
        data: PreparedData,
        group: Group = SOLO,
    ) -> None:
        self._config, self._objective, self._data = config, objective, data
        self._group = group
        check_size(config.search, data.vocabulary)
        if "valid" not in data.splits:
            logger.warning("no valid split: the training split is measured; set data.valid")
        self._device = torch.device(config.trainer.device)
        split = "valid" if "valid" in data.splits else "train"
        self._corpus = training_pairs(config, data, split)
        self._selector = Selector(data.vocabulary, self._device)

    def __call__(self) -> dict[str, float]:
        """Returns the values of the whole split by name."""
        recall = new_recall(self._data)
        sums: dict[str, float] = {}
        tokens = 0
        for batch in loader(self._config, self._corpus, shuffle=False).one_epoch():
            part = part_of(batch, self._group)
            own = part.batch.to(self._device)
            with part.draws:
                terms: LossTerms = self._objective(own)
            for name, value in terms.parts.items():
                sums[name] = sums.get(name, 0.0) + float(value) * part.num_tokens
            tokens += batch.num_tokens
            if self._config.search.vocabulary != "full" and part.num_tokens:
                # what the word predictor learns shows in T by beta alone
                by_beta = replace(self._config.search, alpha=0.0)
                _, vocab = self._choose(own.messages, own.message_lengths, by_beta)
                count_recall(recall, own, vocab)
        pooled = self._group.total(torch.tensor(list(sums.values()), dtype=torch.float64))
        recall.pool(self._group.total)
        values = {name: value / tokens for name, value in zip(sums, pooled.tolist(), strict=True)}
        values["loss"] = next(values[name] for name in ("bound", "nll", "loss") if name in values)
        if self._config.search.vocabulary != "full":
            scores = recall.result()
            values["recall/tokens"] = scores.dynamic.tokens
            values["recall/content_words"] = scores.dynamic.content_words
            values["recall/static_list"] = scores.static.tokens
            values["recall/size"] = scores.mean_size
        return values

    def samples(self) -> dict[str, str]:
        """Returns 'message → reply' of pairs spread evenly over the split, greedy."""
        count = min(self._config.trainer.samples, len(self._corpus))
        if count == 0 or not self._group.is_first:
            return {}
        places = [i * len(self._corpus) // count for i in range(count)]
        messages = [self._corpus.message(i) for i in places]
        batch = make_batch(messages, None, places).to(self._device)
        encoded, vocab = self._choose(batch.messages, batch.message_lengths, self._config.search)
        options = SearchOptions(kind="greedy", max_length=self._config.search.max_length)
        found = search(Session(self._model, encoded, vocab), options)
        vocabulary = self._data.vocabulary
        tokenizer = get_tokenizer(vocabulary.tokenizer)
        texts = {}
        for i, hypotheses in enumerate(found):
            row = vocab.row(i)
            reply = vocabulary.decode([row[slot] for slot in hypotheses[0].slots])
            message = " ".join(vocabulary.decode(messages[i].tolist()))
            texts[f"reply/{i}"] = f"{message} → {tokenizer.detokenize(reply)}"
        return texts

    @property
    def _model(self) -> Dvs2sModel:
        model = self._objective.model
        assert isinstance(model, Dvs2sModel)
        return model

    def _choose(
        self, messages: Tensor, lengths: Tensor, chosen_by: SearchConfig
    ) -> tuple[Encoded, DynamicVocab]:
        encoded = self._model.encode(messages, lengths)
        log_odds = self._model.predict_words(encoded)
        return encoded, self._selector(chosen_by, log_odds, messages)
