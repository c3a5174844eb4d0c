"""A model and a batch of messages as the step function that search works on.

The compiled kernels read the rows of each input's vocabulary through their ids; where they do not
serve, the rows are gathered once and live as long as the session.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dvs2s import ops
from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.layers.attention import Memory
from dvs2s.layers.encoder import Encoded
from dvs2s.layers.topic_attention import with_topic_words
from dvs2s.model import Dvs2sModel
from dvs2s.text.specials import BOS, EOS, NEVER_GENERATED


@dataclass(frozen=True)
class TopicRows:
    """The second scores of topic words of the A active inputs.

    Args:
        rows: (A, N, H) float.
        bias: (A, N) float.
        slots: (A, N) int64, where they stand in each vocabulary; any slot where they do not.
        keep: (A, N) bool, True where they do.
    """

    rows: Tensor
    bias: Tensor
    slots: Tensor
    keep: Tensor

    def index(self, rows: Tensor) -> "TopicRows":
        """Returns those of the inputs ``rows`` (A',) int64."""
        return TopicRows(self.rows[rows], self.bias[rows], self.slots[rows], self.keep[rows])


@dataclass(frozen=True)
class SessionState:
    """The active inputs of a search.

    Args:
        hidden: (A, W, H) float, decoder states.
        memory: of the A active inputs.
        rows: (A, K, H) float, the vocabulary's rows; (V, H) when every input has all words or
            kernels read through the ids.
        bias: (A, K) float, ``-inf`` past an input's length; (V,) where rows are (V, H).
        vocab: of the A active inputs.
        indexed: whether kernels read through the ids.
        topics: of a model that is aware of topic words.
    """

    hidden: Tensor
    memory: Memory
    rows: Tensor
    bias: Tensor
    vocab: DynamicVocab
    indexed: bool
    topics: TopicRows | None = None


class Session:
    """The ``StepModel`` of a batch: see ``decoding/search.py``.

    Args:
        model: the network, in eval mode.
        encoded: B messages.
        vocab: the words of each input.
        forbidden: (V,) bool, words that are never generated although they are in T; None for none.

    Raises:
        ValueError: the batch and the vocabulary differ in size, or </s> is missing.
    """

    def __init__(
        self,
        model: Dvs2sModel,
        encoded: Encoded,
        vocab: DynamicVocab,
        *,
        forbidden: Tensor | None = None,
    ) -> None:
        if encoded.mask.shape[0] != vocab.ids.shape[0]:
            raise ValueError(
                f"vocab must have one row for each of {encoded.mask.shape[0]} messages, "
                f"got {vocab.ids.shape[0]}"
            )
        if not bool((vocab.ids[:, EOS : EOS + 1] == EOS).all()) or vocab.ids.shape[1] <= EOS:
            raise ValueError("vocab lacks the special words in its first slots")
        self.model, self.vocab, self._encoded = model, vocab, encoded
        self.num_inputs, self.num_slots = vocab.ids.shape
        self.eos_slot = EOS
        never = torch.zeros(vocab.vocabulary_size, dtype=torch.bool, device=vocab.ids.device)
        never[list(NEVER_GENERATED)] = True
        if forbidden is not None:
            never |= forbidden
        self.allowed = vocab.keep & ~never[vocab.ids]  # (B, K)

    def start(self) -> tuple[Tensor, SessionState]:
        """Returns the first word's log-probabilities (B, 1, K) and the state behind them."""
        hidden, memory = self.model.start(self._encoded)
        rows, bias = self._rows()
        begin = torch.full_like(self.vocab.ids[:, :1], BOS)
        hidden = self.model.step(begin, hidden, memory)
        indexed = rows.dim() == 2 and not self._is_full()
        topics = self._topic_rows()
        state = SessionState(hidden, memory, rows, bias, self.vocab, indexed, topics)
        return _log_probs(state), state

    def _rows(self) -> tuple[Tensor, Tensor]:
        """Returns the rows and biases that the inputs need, gathered once."""
        projection = self.model.output.projection
        # a kernel that gives log-probabilities at once leaves no room for topic words
        indexed = self.model.topic_output is None and ops.reads_through_ids(projection.weight)
        if self._is_full() or indexed:
            return projection.weight, projection.bias
        bias = projection.bias[self.vocab.ids].masked_fill(~self.vocab.keep, float("-inf"))
        return projection.weight[self.vocab.ids], bias

    def _topic_rows(self) -> TopicRows | None:
        """Returns what gives topic words their own probability, gathered once."""
        output, topics = self.model.topic_output, self._encoded.topics
        if output is None or topics is None:
            return None
        rows, bias = output.rows(topics.words)
        slots = self.vocab.slots(topics.words)
        return TopicRows(rows, bias, slots.clamp_min(0), slots >= 0)

    def _is_full(self) -> bool:
        words = self.vocab.vocabulary_size  # slots are words: nothing to pick
        return self.num_slots == words and bool((self.vocab.lengths == words).all())

    def step(self, slots: Tensor, state: SessionState) -> tuple[Tensor, SessionState]:
        """Returns log-probabilities (A, W, K) after the words in ``slots`` (A, W) int64."""
        words = state.vocab.words(slots)
        hidden = self.model.step(words, state.hidden, state.memory)
        state = replace(state, hidden=hidden)
        return _log_probs(state), state

    def reorder(self, state: SessionState, parents: Tensor) -> SessionState:
        """Returns the state in which hypothesis w continues ``parents[a, w]``, (A, W') int64."""
        index = parents[..., None].expand(-1, -1, state.hidden.shape[-1])
        hidden = state.hidden.gather(1, index)
        return replace(state, hidden=hidden)

    def narrow(self, state: SessionState, keep: Tensor) -> SessionState:
        """Returns the state of the active inputs ``keep`` (A',) int64 alone."""
        shared = state.rows.dim() == 2
        return SessionState(
            state.hidden[keep],
            state.memory.index(keep),
            state.rows if shared else state.rows[keep],
            state.bias if shared else state.bias[keep],
            DynamicVocab(
                state.vocab.ids[keep], state.vocab.lengths[keep], state.vocab.vocabulary_size
            ),
            state.indexed,
            None if state.topics is None else state.topics.index(keep),
        )


def _log_probs(state: SessionState) -> Tensor:
    if state.indexed:
        return ops.sparse_log_softmax(
            state.hidden,
            state.rows,
            state.bias,
            state.vocab.ids,
            state.vocab.lengths,
            validate=False,
        )
    if state.rows.dim() == 2:
        logits = state.hidden @ state.rows.T + state.bias  # (A, W, V)
    else:
        logits = torch.bmm(state.hidden, state.rows.transpose(1, 2)) + state.bias[:, None]
    if state.topics is not None:
        more = state.topics
        scores = torch.baddbmm(more.bias[:, None], state.hidden, more.rows.transpose(1, 2))
        logits = with_topic_words(logits, scores, more.slots, more.keep)
    return logits.float().log_softmax(-1)
