"""CVAE: a latent variable, its bound annealed in, and a bag of words that keeps it in use."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvs2s.data.batch import Batch
from dvs2s.layers.encoder import Encoded
from dvs2s.layers.latent import Gaussian, GaussianNet
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.cross_entropy import full_cross_entropy
from dvs2s.objectives.terms import LossTerms


class Cvae(nn.Module):
    """Maximises E_q[log p(y | x, z)] - KL(q(z | x, y) ‖ p(z | x)) over the full vocabulary.

    The weight of KL rises from 0 to 1 over the first updates, and the words of the response must be
    told from x and z without their order; without either a strong decoder ignores z.

    The recognition network q and the bag of words are used in training only and belong to the
    objective; the prior belongs to the model.

    Args:
        model: the network, with a latent variable.
        anneal_updates: updates over which the weight of KL rises; 0 for 1 from the start.
        bow_weight: of the bag-of-words loss, at least 0.

    Raises:
        ValueError: the model has no latent variable, or a number is below 0.

    Source: Zhao et al. 2017, section 3.1 and 3.3; KL annealing: Bowman et al. 2016.
    """

    def __init__(self, model: Dvs2sModel, *, anneal_updates: int, bow_weight: float = 1.0) -> None:
        super().__init__()
        if model.latent is None:
            raise ValueError("model has no latent variable: set model.latent_size, such as 64")
        if anneal_updates < 0 or not bow_weight >= 0:
            raise ValueError(
                f"anneal_updates and bow_weight must be at least 0, got {anneal_updates} and "
                f"{bow_weight}"
            )
        sizes = model.sizes
        source, latent = 2 * sizes.hidden_size, sizes.latent_size
        self.model, self.bow_weight = model, bow_weight
        self.anneal_updates, self.kl_weight = anneal_updates, 0.0 if anneal_updates else 1.0
        self.recognition = GaussianNet(2 * source, sizes.hidden_size, latent)
        self.bag = nn.Sequential(
            nn.Linear(source + latent, sizes.hidden_size),
            nn.Tanh(),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.hidden_size, sizes.vocabulary_size),
        )

    def begin_update(self, update: int) -> None:
        """Sets the weight of KL for the update (1 is the first)."""
        self.kl_weight = min(1.0, update / self.anneal_updates) if self.anneal_updates else 1.0

    def forward(self, batch: Batch) -> LossTerms:
        """Returns the mean loss of a response word; validation measures the bound at weight 1."""
        encoded = self.model.read(batch.messages, batch.message_lengths)
        posterior, prior = self._posterior(encoded, batch), self.model.prior(encoded)
        z = posterior.sample(torch.randn_like(posterior.mean))
        hidden = self.model.unroll(self.model.given(encoded, z), batch.responses)
        nll = full_cross_entropy(self.model, hidden, batch).sum()
        divergence = posterior.divergence(prior).sum()
        bag = self._bag_loss(encoded, z, batch)
        weight = self.kl_weight if self.training else 1.0
        total = nll + weight * divergence + self.bow_weight * bag
        parts = {
            "bound": (nll + divergence).detach() / batch.num_tokens,
            "nll": nll.detach() / batch.num_tokens,
            "latent/kl": divergence.detach() / len(batch),
            "latent/kl_weight": total.new_tensor(weight),
            "latent/bag_of_words": bag.detach() / batch.num_tokens,
        }
        return LossTerms(total / batch.num_tokens, batch.num_tokens, parts)

    def _posterior(self, encoded: Encoded, batch: Batch) -> Gaussian:
        """Returns q(z | x, y); the response is read by the message's encoder."""
        answer = self.model.read(batch.responses, batch.response_lengths)
        found: Gaussian = self.recognition(torch.cat([encoded.final, answer.final], dim=1))
        return found

    def _bag_loss(self, encoded: Encoded, z: Tensor, batch: Batch) -> Tensor:
        """Returns -Σ log p(word | x, z) over the response's words, nats."""
        logits = self.bag(torch.cat([encoded.final, z], dim=1))  # (B, V)
        log_probs = F.log_softmax(logits, dim=1).gather(1, batch.responses)  # (B, T)
        loss: Tensor = -(log_probs * batch.response_mask).sum()
        return loss
