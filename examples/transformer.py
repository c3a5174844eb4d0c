"""The operators in somebody else's model: a Transformer that scores only the words it may use.

    python examples/transformer.py [--updates 300] [--seed 0]

The task is made here: a message names a topic, and the reply counts through that topic's words.
Each message's vocabulary is its topic's words among 4,000; the decoder's ``nn.Linear`` is replaced
by ``SparseSoftmax`` and nothing else changes. Prints the loss while training and the share of right
replies at the end, with the vocabulary of each topic and with all words.
"""

import argparse

import torch
from torch import Tensor, nn

from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.layers.sparse_softmax import SparseSoftmax

TOPICS, TOPIC_WORDS, LENGTH, WIDTH = 40, 100, 6, 64
BEGIN = 0
WORDS = 1 + TOPICS * TOPIC_WORDS


class Decoder(nn.Module):
    """A causal Transformer over [topic, begin, word, word, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.topics = nn.Embedding(TOPICS, WIDTH)
        self.places = nn.Parameter(torch.randn(LENGTH + 1, WIDTH) * 0.1)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.output = SparseSoftmax(WIDTH, WORDS)  # was: nn.Linear(WIDTH, WORDS)

    def forward(self, topics: Tensor, words: Tensor) -> Tensor:
        """Returns the states (B, T, WIDTH) after [begin, words...] of (B, T - 1)."""
        begin = topics.new_full((len(topics), 1), BEGIN)
        inputs = self.words(torch.cat([begin, words], 1)) + self.topics(topics)[:, None]
        inputs = inputs + self.places[: inputs.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(inputs.shape[1])
        states: Tensor = self.blocks(inputs, mask=mask, is_causal=True)
        return states


def batch_of(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns topics (B,) and replies (B, LENGTH): every third word of the topic."""
    topics = torch.randint(0, TOPICS, (size,), generator=generator)
    steps = torch.arange(LENGTH) * 3
    return topics, 1 + topics[:, None] * TOPIC_WORDS + (topics[:, None] + steps) % TOPIC_WORDS


def vocabulary(topics: Tensor) -> DynamicVocab:
    """Returns each topic's words; a word predictor would choose them (``dvs2s.ops.select``)."""
    ids = 1 + topics[:, None] * TOPIC_WORDS + torch.arange(TOPIC_WORDS)
    begin = torch.zeros(len(topics), 1, dtype=torch.int64)
    lengths = torch.full((len(topics),), TOPIC_WORDS + 1)
    return DynamicVocab(torch.cat([begin, ids], 1), lengths, WORDS)


@torch.no_grad()
def generate(model: Decoder, topics: Tensor, vocab: DynamicVocab) -> Tensor:
    """Returns greedy replies (B, LENGTH)."""
    words = torch.empty(len(topics), 0, dtype=torch.int64)
    for _ in range(LENGTH):
        state = model(topics, words)[:, -1:]
        _, best = model.output.best(state, vocab, 1)
        words = torch.cat([words, best[:, 0]], 1)
    return words


def main() -> None:
    """Trains, and prints how many replies are right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for update in range(1, arguments.updates + 1):
        topics, replies = batch_of(32, generator)
        loss = model.output.losses(
            model(topics, replies[:, :-1]), vocabulary(topics), replies
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 50 == 0:
            print(f"update {update}: {loss.item():.4f} nats a word")
    topics, replies = batch_of(200, generator)
    everything = DynamicVocab.full(len(topics), WORDS, topics.device)
    for name, vocab in (("own words", vocabulary(topics)), ("all words", everything)):
        right = (generate(model, topics, vocab) == replies).all(1).float().mean()
        print(f"{name}: {right:.1%} of replies right")


if __name__ == "__main__":
    main()
