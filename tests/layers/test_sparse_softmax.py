"""The layer for other people's decoders, against nn.Linear and a softmax."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.layers.sparse_softmax import SparseSoftmax


@pytest.mark.parametrize("bias", [True, False])
def test_all_words_are_the_linear_layer(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(8, 30, bias=bias)
    layer = SparseSoftmax.from_linear(linear)
    hidden, words = torch.randn(3, 4, 8), torch.randint(0, 30, (3, 4))
    vocab = DynamicVocab.full(3, 30, hidden.device)
    expected = linear(hidden).log_softmax(-1)
    torch.testing.assert_close(layer(hidden, vocab), expected)
    losses = layer.losses(hidden, vocab, words)
    torch.testing.assert_close(losses, -expected.gather(-1, words[..., None])[..., 0])
    losses.sum().backward()
    assert linear.weight.grad is not None and linear.weight.grad.abs().sum() > 0  # shared
    scores, best = layer.best(hidden, vocab, 3)
    torch.testing.assert_close(scores, expected.topk(3).values)
    assert torch.equal(best, expected.topk(3).indices)


def test_a_trained_linear_layer_loads_and_ragged_vocabularies_score_their_words() -> None:
    torch.manual_seed(0)
    linear, layer = nn.Linear(8, 30), SparseSoftmax(8, 30)
    layer.load_state_dict(linear.state_dict())
    vocab = DynamicVocab(torch.tensor([[1, 5, 9], [2, 29, 0]]), torch.tensor([3, 2]), 30)
    hidden = torch.randn(2, 4, 8)
    log_probs = layer(hidden, vocab)
    for row, words in enumerate(([1, 5, 9], [2, 29])):
        expected = linear(hidden[row])[:, words].log_softmax(-1)
        torch.testing.assert_close(log_probs[row, :, : len(words)], expected)
    ignored = layer.losses(hidden, vocab, torch.tensor([[5, -1, 1, 9], [-1, 2, 29, 2]]))
    assert ignored[0, 1] == 0 and ignored[1, 0] == 0 and (ignored > 0).sum() == 6


def test_bad_use_is_named() -> None:
    layer, hidden = SparseSoftmax(8, 30), torch.zeros(1, 1, 8)
    vocab = DynamicVocab(torch.tensor([[1, 5]]), torch.tensor([2]), 30)
    with pytest.raises(ValueError, match="words of input 0 are not all in its vocabulary"):
        layer.losses(hidden, vocab, torch.tensor([[4]]))
    with pytest.raises(ValueError, match="vocabulary_size must be at least 1"):
        SparseSoftmax(8, 0)
    with pytest.raises(ValueError, match="ids must lie in 0..29"):
        layer(hidden, DynamicVocab(torch.tensor([[1, 35]]), torch.tensor([2]), 36))


def test_the_example_learns_and_says_so() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "transformer.py"
    command = [sys.executable, str(example), "--updates", "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shares = [float(line.split(": ")[1].split("%")[0]) for line in done.stdout.splitlines()[-2:]]
    assert shares[0] > 90, done.stdout
