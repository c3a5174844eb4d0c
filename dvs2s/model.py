"""The DVS2S network: encoder, word prediction, attention decoder, output over a vocabulary.

With the full vocabulary it is S2SA, the plain attention seq2seq model.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dvs2s.layers.attention import Memory
from dvs2s.layers.decoder import Decoder
from dvs2s.layers.encoder import Encoded, Encoder
from dvs2s.layers.latent import Gaussian, Latent
from dvs2s.layers.output import Output
from dvs2s.layers.topic_attention import TopicOutput, with_topic_words
from dvs2s.layers.topics import Topics
from dvs2s.layers.word_predictor import WordPredictor
from dvs2s.text.specials import BOS, SPECIALS


@dataclass(frozen=True)
class ModelSizes:
    """The widths of a model.

    Args:
        vocabulary_size: V.
        num_fixed: special and function words, 5 <= num_fixed < V.
        embedding_size: E.
        hidden_size: H, of the decoder and of one direction of the encoder.
        bag_size: width of each of the word predictor's two bags of words.
        predictor_size: D, width of the word predictor's hidden layer.
        dropout: 0 <= dropout < 1.
        latent_size: Z, width of a latent variable; 0 for none.
        num_topics: of messages, for a decoder that is aware of topic words; 0 for none.
        topic_words: N, words a topic, at least 1.
    """

    vocabulary_size: int
    num_fixed: int
    embedding_size: int
    hidden_size: int
    bag_size: int
    predictor_size: int
    dropout: float = 0.0
    latent_size: int = 0
    num_topics: int = 0
    topic_words: int = 100

    def __post_init__(self) -> None:
        if not len(SPECIALS) <= self.num_fixed < self.vocabulary_size:
            raise ValueError(
                f"num_fixed must be at least 5 (the special words) and below the vocabulary's "
                f"{self.vocabulary_size} words, got {self.num_fixed}: choose another function-word "
                f"rule or a larger vocabulary"
            )
        widths = ("embedding_size", "hidden_size", "bag_size", "predictor_size", "topic_words")
        for name in widths:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("latent_size", "num_topics"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class Dvs2sModel(nn.Module):
    """Wires the layers; knows neither objectives nor search.

    Args:
        sizes: the widths.

    Source: paper, model; docs/model.md.
    """

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embedding = nn.Embedding(sizes.vocabulary_size, sizes.embedding_size)
        self.encoder = Encoder(sizes.embedding_size, sizes.hidden_size, dropout=sizes.dropout)
        self.decoder = Decoder(
            sizes.embedding_size,
            sizes.hidden_size,
            dropout=sizes.dropout,
            num_topics=sizes.num_topics,
        )
        self.output = Output(sizes.hidden_size, sizes.vocabulary_size)
        self.word_predictor = WordPredictor(
            sizes.vocabulary_size,
            sizes.num_fixed,
            bag_size=sizes.bag_size,
            hidden_size=sizes.predictor_size,
            dropout=sizes.dropout,
        )
        self.latent: Latent | None = None
        if sizes.latent_size:
            self.latent = Latent(2 * sizes.hidden_size, sizes.hidden_size, sizes.latent_size)
        self.topics: Topics | None = None
        self.topic_output: TopicOutput | None = None
        if sizes.num_topics:
            words = sizes.vocabulary_size
            self.topics = Topics(words, sizes.num_topics, sizes.topic_words)
            self.topic_output = TopicOutput(sizes.hidden_size, words)

    def encode(self, messages: Tensor, lengths: Tensor, noise: Tensor | None = None) -> Encoded:
        """Encodes messages (B, S) int64 of ``lengths`` (B,) int64, ready to be answered.

        Args:
            messages, lengths: as said.
            noise: (B, Z) float, standard normal, draws the latent variable from its prior; None
                for the prior's mean. Without a latent variable it is not looked at.
        """
        encoded = self.read(messages, lengths)
        if self.latent is None:
            return encoded
        prior = self.prior(encoded)
        return self.given(encoded, prior.mean if noise is None else prior.sample(noise))

    def read(self, messages: Tensor, lengths: Tensor) -> Encoded:
        """Encodes messages and leaves a latent variable open."""
        encoded: Encoded = self.encoder(self.embedding(messages), messages, lengths)
        if self.topics is None:
            return encoded
        return replace(encoded, topics=self.topics(messages))

    def prior(self, encoded: Encoded) -> Gaussian:
        """Returns p(z | x) of a model with a latent variable."""
        prior: Gaussian = self._latent().prior(encoded.final)
        return prior

    def given(self, encoded: Encoded, z: Tensor) -> Encoded:
        """Returns the encoded messages with the latent variable at ``z`` (B, Z) float."""
        return replace(encoded, offset=self._latent().start(z))

    def _latent(self) -> Latent:
        if self.latent is None:
            raise ValueError("the model has no latent variable: set model.latent_size above 0")
        return self.latent

    def predict_words(self, encoded: Encoded) -> Tensor:
        """Returns the logits of β, (B, C) float, content word ``num_fixed + i`` at place i."""
        logits: Tensor = self.word_predictor(encoded)
        return logits

    def unroll(self, encoded: Encoded, responses: Tensor) -> Tensor:
        """Returns the states (B, T, H) that predict each word of ``responses`` (B, T) int64."""
        first = torch.full_like(responses[:, :1], BOS)
        shifted = torch.cat([first, responses[:, :-1]], dim=1)  # (B, T)
        return self.decoder.unroll(self.embedding(shifted), encoded)

    def logits(self, hidden: Tensor, encoded: Encoded) -> Tensor:
        """Returns the scores (B, R, V) of all words after states (B, R, H) of the messages."""
        logits: Tensor = self.output.projection(hidden)
        if self.topic_output is None or encoded.topics is None:
            return logits
        words = encoded.topics.words
        rows, bias = self.topic_output.rows(words)
        scores = torch.baddbmm(bias[:, None], hidden, rows.transpose(1, 2))  # (B, R, N)
        return with_topic_words(logits, scores, words, torch.ones_like(words, dtype=torch.bool))

    def losses(
        self, hidden: Tensor, encoded: Encoded, membership: Tensor, targets: Tensor
    ) -> Tensor:
        """Returns ``-log p(target)`` under M vocabularies an example: (B, M, R), nats.

        Args:
            hidden: (B, R, H) float, states that predict the targets.
            encoded: the messages.
            membership: (B, M, V) bool, True where a word is in the vocabulary.
            targets: (B, R) int64 words.
        """
        if self.topic_output is None:
            return self.output.losses(hidden, membership, targets)
        logits = self.logits(hidden, encoded)[:, None]  # (B, 1, R, V)
        inside = logits.masked_fill(~membership[:, :, None], float("-inf")).log_softmax(-1)
        index = targets[:, None, :, None].expand(-1, membership.shape[1], -1, 1)
        return -inside.gather(3, index)[..., 0]

    def start(self, encoded: Encoded) -> tuple[Tensor, Memory]:
        """Returns the state before the first word, (B, 1, H), and the memory to attend to."""
        return self.decoder.initial_state(encoded)[:, None], self.decoder.memory(encoded)

    def step(self, words: Tensor, state: Tensor, memory: Memory) -> Tensor:
        """Returns the states (B, W, H) after the words (B, W) int64."""
        return self.decoder.step(self.embedding(words), state, memory)
