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
    """

    vocabulary_size: int
    num_fixed: int
    embedding_size: int
    hidden_size: int
    bag_size: int
    predictor_size: int
    dropout: float = 0.0
    latent_size: int = 0

    def __post_init__(self) -> None:
        if not len(SPECIALS) <= self.num_fixed < self.vocabulary_size:
            raise ValueError(
                f"num_fixed must be at least 5 (the special words) and below the vocabulary's "
                f"{self.vocabulary_size} words, got {self.num_fixed}: choose another function-word "
                f"rule or a larger vocabulary"
            )
        for name in ("embedding_size", "hidden_size", "bag_size", "predictor_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.latent_size < 0:
            raise ValueError(f"latent_size must be at least 0, got {self.latent_size}")
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
        self.decoder = Decoder(sizes.embedding_size, sizes.hidden_size, dropout=sizes.dropout)
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
        return encoded

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

    def start(self, encoded: Encoded) -> tuple[Tensor, Memory]:
        """Returns the state before the first word, (B, 1, H), and the memory to attend to."""
        return self.decoder.initial_state(encoded)[:, None], self.decoder.memory(encoded)

    def step(self, words: Tensor, state: Tensor, memory: Memory) -> Tensor:
        """Returns the states (B, W, H) after the words (B, W) int64."""
        return self.decoder.step(self.embedding(words), state, memory)
