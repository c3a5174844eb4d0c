"""A loaded checkpoint that answers text with text: all that a front end needs to know."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvs2s.answer import Answer
from dvs2s.backends import Backend, EngineChoice, Limits, choose_backend
from dvs2s.config import PLAIN, SHORTLISTS, SearchConfig, TrainConfig
from dvs2s.coverage.calibration import Calibration
from dvs2s.coverage.generic import GenericBound
from dvs2s.data.batch import Batch, make_batch
from dvs2s.engine.engine import Precision
from dvs2s.layers.encoder import Encoded
from dvs2s.lens import Lens, look
from dvs2s.model import Dvs2sModel
from dvs2s.selection import Selector, check_size
from dvs2s.shortlists import Shortlist
from dvs2s.text.specials import SEP
from dvs2s.text.tokenizer import get_tokenizer
from dvs2s.text.vocabulary import Vocabulary
from dvs2s.text.word_lists import WordLists
from dvs2s.wording import Wording

Message = str | Sequence[str]
"""A message, or the turns of a conversation with the newest last."""


class Responder:
    """Answers messages.

    Args:
        model: trained; put into eval mode and moved to ``device``.
        vocabulary: the one that the model was trained with.
        config: the one that the model was trained with.
        device: where to run.
        source: the checkpoint's folder, for messages to people.
        shortlists: what ``search.vocabulary=frequency`` and ``lexical`` choose from, by name.
        calibration: the levels of ``search.vocabulary=conformal``; None without.
        generic: the prices of ``search.generic_share``; None without.
        engine: "compiled" decodes with the engine, "plain" without; "auto" with it where it is.
        precision: of the engine's weights, "fp32", "bf16" or "int8"; the plain search has "fp32".

    Raises:
        ValueError: the model has another number of words than the vocabulary, or there is no such
            engine here.
    """

    def __init__(
        self,
        model: Dvs2sModel,
        vocabulary: Vocabulary,
        config: TrainConfig,
        *,
        device: str = "cpu",
        source: Path | None = None,
        shortlists: Mapping[str, Shortlist] | None = None,
        calibration: Calibration | None = None,
        generic: GenericBound | None = None,
        engine: EngineChoice = "auto",
        precision: Precision = "fp32",
    ) -> None:
        if model.sizes.vocabulary_size != len(vocabulary):
            raise ValueError(
                f"vocabulary has {len(vocabulary)} words and the model "
                f"{model.sizes.vocabulary_size}: use the vocabulary that it was trained with"
            )
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.vocabulary, self.config, self.source = vocabulary, config, source
        self.shortlists = dict(shortlists or {})
        self.selector = Selector(vocabulary, self.device, calibration)
        self._tokenizer = get_tokenizer(vocabulary.tokenizer)
        self._word_lists, self.generic = WordLists(vocabulary), generic
        self._wording = Wording(vocabulary, self._tokenizer)
        self._backend = choose_backend(
            self.model,
            self.selector,
            self,
            device=self.device,
            choice=engine,
            precision=precision,
        )

    @property
    def backend(self) -> Backend:
        """What decodes."""
        return self._backend

    @property
    def has_word_predictor(self) -> bool:
        """Whether the model was trained to choose words; a plain seq2seq model was not."""
        return self.config.objective.kind not in PLAIN

    def search_config(self, **overrides: Any) -> SearchConfig:
        """Returns the checkpoint's search settings with some replaced.

        Raises:
            ConfigError: a setting out of range.
            TypeError: a name that is no search setting.
            ValueError: a dynamic vocabulary asked of a model without a word predictor, or one
                smaller than the special and function words.
        """
        config = replace(self.config.search, **overrides)
        if config.vocabulary in SHORTLISTS and config.vocabulary not in self.shortlists:
            raise ValueError(
                f"search.vocabulary={config.vocabulary} counts the training corpus, which is not "
                f"here: use dvs2s.cli.evaluate, which has it, or search.vocabulary=size"
            )
        is_predicted = config.vocabulary not in ("full", *SHORTLISTS)
        if is_predicted and not self.has_word_predictor:
            raise ValueError(
                f"search.vocabulary={config.vocabulary} needs a word predictor, which this plain "
                f"seq2seq model lacks: use search.vocabulary=full"
            )
        check_size(config, self.vocabulary)
        self.selector.resolved(config)  # refuses a guarantee that is not there
        self._generic_price(config)
        return config

    def reply(
        self,
        message: Message,
        *,
        allow: Sequence[str] = (),
        forbid: Sequence[str] = (),
        **overrides: Any,
    ) -> Answer:
        """Answers one message.

        Args:
            message: text, or the turns of the conversation so far, newest last. As many turns
                as the model was trained on are used.
            allow: words that come into T whatever their β, in upper or lower case, ``walk*`` for
                all that begin so (``dvs2s/text/word_lists.py``); unknown words are left out.
            forbid: words that are never generated, whatever the search; listed in the same way. A
                word that is both allowed and forbidden is in T and is not generated.
            overrides: of the search configuration: ``kind="greedy"``, ``num_best=5``, ``size=300``.

        Raises:
            ConfigError: a search setting out of range.
            ValueError: no turn in ``message``.
        """
        search_config = self.search_config(**overrides)
        return self.answers([message], search_config, allow=allow, forbid=forbid)[0]

    def answers(
        self,
        messages: Sequence[Message],
        search_config: SearchConfig | None = None,
        *,
        allow: Sequence[str] = (),
        forbid: Sequence[str] = (),
        input_seeds: Sequence[int] | None = None,
    ) -> list[Answer]:
        """Answers a batch of messages; an answer does not depend on who shares the batch.

        Args:
            messages: at least one.
            search_config: None for the checkpoint's.
            allow: words that come into every T.
            forbid: words that are never generated.
            input_seeds: for sampling, one seed a message; None for 0 everywhere.
        """
        return self.answers_to_batch(
            self.batch(messages), search_config, allow=allow, forbid=forbid, input_seeds=input_seeds
        )

    @torch.inference_mode()
    def answers_to_batch(
        self,
        batch: Batch,
        search_config: SearchConfig | None = None,
        *,
        allow: Sequence[str] = (),
        forbid: Sequence[str] = (),
        input_seeds: Sequence[int] | None = None,
    ) -> list[Answer]:
        """Answers messages that are ids already; arguments as of ``answers``."""
        config = search_config or self.search_config()
        limits = Limits(self._membership(allow), self._membership(forbid))
        seeds = [0] * len(batch) if input_seeds is None else input_seeds
        price = self._generic_price(config)
        searched = config if price is None else replace(config, num_best=config.beam)
        found, seconds = self._backend.decode(batch, searched, limits, seeds)
        answers = [self._wording.answer(one, seconds) for one in found]
        if price is None or self.generic is None:
            return answers
        return [self.generic.ranked(answer, price, config.num_best) for answer in answers]

    def lens(self, message: Message, *, limit: int | None = None, **overrides: Any) -> Lens:
        """Returns the content words that a message admits, and which of its words brought each in.

        Args:
            message: as of ``reply``.
            limit: words, at most, likely ones first; None for all.
            overrides: of the search configuration; those that choose T are read.

        Raises:
            ConfigError: a search setting out of range.
            ValueError: no turn in ``message``, a limit below 0, or a model without word prediction.
        """
        config = self.search_config(**overrides)
        if not self.has_word_predictor:
            raise ValueError("the lens looks at word prediction, which this model lacks")
        return look(self.model, self.selector, config, self.encode_message(message), limit=limit)

    def _generic_price(self, config: SearchConfig) -> float | None:
        """Returns what generic replies are charged; None where their share is not bounded."""
        if config.generic_share == 1:
            return None
        if self.generic is None:
            raise ValueError(
                f"search.generic_share={config.generic_share:g} needs prices of generic replies, "
                f"and this checkpoint has none: run python -m dvs2s.cli.generic checkpoint=..."
            )
        return self.generic.price(config.generic_share, vars(config))

    def encode(self, batch: Batch, config: SearchConfig, input_seeds: Sequence[int]) -> Encoded:
        """Returns the messages read; a model with a latent variable draws it from the seeds."""
        noise = self._noise(config.seed, input_seeds)
        return self.model.encode(batch.messages, batch.message_lengths, noise)

    def log_odds(self, encoded: Encoded, config: SearchConfig) -> Tensor:
        """Returns what T is chosen by: the logits of β, or those of a shortlist, (B, C) float.

        For a model without word prediction every word is certain.
        """
        if config.vocabulary in SHORTLISTS:
            return self.shortlists[config.vocabulary](encoded.messages)
        if self.has_word_predictor:
            return self.model.predict_words(encoded)
        return encoded.final.new_full(
            (encoded.final.shape[0], self.vocabulary.num_content), float("inf")
        )

    def _noise(self, seed: int, input_seeds: Sequence[int]) -> Tensor | None:
        """Returns what draws each input's latent variable, (B, Z); None for a model without."""
        if self.model.latent is None:
            return None
        draws = [
            np.random.default_rng([seed, own]).standard_normal(self.model.latent.size)
            for own in input_seeds
        ]
        return torch.from_numpy(np.array(draws, dtype=np.float32)).to(self.device)

    def batch(self, messages: Sequence[Message]) -> Batch:
        """Returns the messages as ids, on the model's device."""
        arrays = [np.asarray(self.encode_message(m), dtype=np.int64) for m in messages]
        return make_batch(arrays, None, range(len(arrays))).to(self.device)

    def encode_message(self, message: Message) -> list[int]:
        """Returns the ids of a message: its last turns joined by <sep>, the last words kept.

        The same ids as ``dvs2s.data.prepare`` makes of it; empty turns are left out.
        """
        turns = [message] if isinstance(message, str) else list(message)
        if not turns:
            raise ValueError("message has no turn: pass a text or at least one turn")
        ids: list[int] = []
        for turn in [t for t in turns if t.strip()][-self.config.data.context_turns :]:
            words = self.vocabulary.encode(self._tokenizer.tokenize(turn))
            ids += ([SEP] if ids else []) + list(words)
        ids = ids[-self.config.data.max_message_tokens :]
        return ids[1:] if len(ids) > 1 and ids[0] == SEP else ids  # as preparation does

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Returns the words as a person would write them."""
        return self._tokenizer.detokenize(tokens)

    def word_ids(self, words: Sequence[str]) -> list[int]:
        """Returns the ids that listed words stand for, as ``allow`` and ``forbid`` read them.

        Raises:
            ValueError: one text in place of a list, or a star behind more than one word.
        """
        return self._word_lists.ids(words)

    def _membership(self, words: Sequence[str]) -> Tensor | None:
        """Returns (V,) bool, True on the words that are listed; None for none."""
        if not words:
            return None
        chosen = torch.zeros(len(self.vocabulary), dtype=torch.bool, device=self.device)
        chosen[self.word_ids(words)] = True
        return chosen
