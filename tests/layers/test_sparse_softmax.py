"""The layer for other people's decoders, against nn.Linear and a softmax."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dvs2s import ops
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


class _Compiled(nn.Module):
    """Somebody's decoder: ids and lengths come in as tensors, as an exported graph needs them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.output = SparseSoftmax(8, 50)

    def forward(self, states: Tensor, ids: Tensor, lengths: Tensor, words: Tensor) -> Tensor:
        vocab = DynamicVocab(ids, lengths, 50)
        hidden = self.inner(states)
        _, best = self.output.best(hidden, vocab, 2)
        losses = self.output.losses(hidden, vocab, words)
        return self.output(hidden, vocab)[..., 0] + losses + best[..., 0]


def _drawn(batch: int) -> tuple[Tensor, ...]:
    ids, lengths = ops.select(torch.randn(batch, 40), num_fixed=10, size=20)
    return torch.randn(batch, 3, 8), ids, lengths, torch.randint(0, 10, (batch, 3))


def test_the_layer_compiles_whole_and_exports_with_a_free_batch() -> None:
    torch.manual_seed(0)
    model = _Compiled().eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    size = torch.export.Dim("size", min=2, max=64)
    exported = torch.export.export(model, _drawn(2), dynamic_shapes=({0: size},) * 4).module()
    for batch in (2, 5):
        given = _drawn(batch)
        torch.testing.assert_close(compiled(*given), model(*given))
        torch.testing.assert_close(exported(*given), model(*given))


def test_the_layer_takes_what_autocast_hands_it() -> None:
    torch.manual_seed(0)
    model, given = _Compiled(), _drawn(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(*given)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, model(*given), atol=0.05, rtol=0.05)
    low.sum().backward()
    assert model.output.weight.grad is not None
    with pytest.raises(ValueError, match="weight must have hidden's type"):
        model.output(given[0].bfloat16(), DynamicVocab(given[1], given[2], 50))
