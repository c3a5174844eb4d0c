"""DVS2S: the decoder and the word predictor trained jointly through a lower bound."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from dvs2s.data.batch import Batch
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.bounds import Bound, BoundOptions, Likelihood
from dvs2s.objectives.cross_entropy import encode, full_cross_entropy
from dvs2s.objectives.reward_predictor import RewardPredictor
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.terms import LossTerms
from dvs2s.objectives.word_loss import WordLoss
from dvs2s.objectives.word_terms import word_terms


@dataclass(frozen=True)
class JointOptions:
    """How the two stages are run.

    Args:
        pretrain_updates: updates of full-vocabulary cross-entropy and word prediction before the
            joint stage, at least 0.
        bound: what the joint stage climbs.
        full_share: share, 0 to below 1, of the joint stage's updates that are made like those of
            pre-training: they keep the decoder calibrated on words outside of T, at no cost.
    """

    pretrain_updates: int
    bound: BoundOptions = field(default_factory=BoundOptions)
    full_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.pretrain_updates >= 0:
            raise ValueError(f"pretrain_updates must be at least 0, got {self.pretrain_updates}")
        if not 0 <= self.full_share < 1:
            raise ValueError(f"full_share must be at least 0 and below 1, got {self.full_share}")


class Joint(nn.Module):
    """Pre-training, then joint training by a lower bound.

    Args:
        model: the network.
        word_loss: positives and negatives of β.
        price: of a row of T.
        baseline: of the score function.
        options: stages, and which bound.

    Source: paper, training; (B1), (B2) and the multi-sample bound of docs/model.md.
    """

    def __init__(
        self,
        model: Dvs2sModel,
        *,
        word_loss: WordLoss,
        price: RowPrice,
        baseline: Baseline,
        options: JointOptions,
    ) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.word_loss, self.price, self.baseline = word_loss, price, baseline
        learned = baseline.kind == "learned"
        self.predictor = RewardPredictor(model.sizes.hidden_size) if learned else None
        self._bound = Bound(options.bound, baseline, self.predictor)
        self.joint = options.pretrain_updates == 0
        self.full = not self.joint

    @property
    def stage(self) -> int:
        """0 in pre-training, 1 in joint training."""
        return int(self.joint)

    def begin_update(self, update: int) -> None:
        """Chooses the stage of the update (1 is the first), and whether it is a full one."""
        place, share = update - self.options.pretrain_updates, self.options.full_share
        self.joint = place > 0
        self.full = not self.joint or int(place * share) > int((place - 1) * share)

    def forward(self, batch: Batch) -> LossTerms:
        """Returns the negative bound, the negative half and the price, a response word."""
        encoded = encode(self.model, batch)
        hidden = self.model.unroll(encoded, batch.responses)
        words = word_terms(self.model, encoded, batch, self.word_loss, self.price)
        if self.training and self.full:
            likelihood = self._full(hidden, batch)
        else:  # validation: one measure over both stages
            likelihood = self._bound(
                self.model, final=encoded.final, hidden=hidden, words=words, batch=batch
            )
        total = (likelihood.loss + words.loss) / batch.num_tokens
        parts = {
            "bound": (likelihood.value + words.parts["positive"]) / batch.num_tokens,
            "nll": likelihood.value / batch.num_tokens,
            **likelihood.parts,
            **words.logged(batch.num_tokens),
        }
        return LossTerms(total, batch.num_tokens, parts)

    def _full(self, hidden: Tensor, batch: Batch) -> Likelihood:
        nats = full_cross_entropy(self.model, hidden, batch).sum()
        return Likelihood(nats, nats.detach())
