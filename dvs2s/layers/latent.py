"""A latent variable between message and reply: what to say where several replies would do."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian an input.

    Args:
        mean: (B, Z) float.
        log_variance: (B, Z) float.
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Returns mean + noise · standard deviation, (B, Z), differentiable in both."""
        return self.mean + noise * (self.log_variance / 2).exp()

    def divergence(self, other: "Gaussian") -> Tensor:
        """Returns KL(self ‖ other), (B,) nats."""
        ratio = self.log_variance - other.log_variance
        distance = (self.mean - other.mean).square() / other.log_variance.exp()
        return (ratio.exp() + distance - 1 - ratio).sum(1) / 2

    def log_prob(self, values: Tensor) -> Tensor:
        """Returns the log-density of (B, Z) values, (B,) nats."""
        distance = (values - self.mean).square() / self.log_variance.exp()
        return -(distance + self.log_variance + math.log(2 * math.pi)).sum(1) / 2


class GaussianNet(nn.Module):
    """Features to a Gaussian, through one hidden layer.

    Args:
        input_size: width of the features.
        hidden_size: H.
        latent_size: Z.
    """

    def __init__(self, input_size: int, hidden_size: int, latent_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_size, hidden_size)
        self.parameters_of = nn.Linear(hidden_size, 2 * latent_size)

    def forward(self, features: Tensor) -> Gaussian:
        """Returns the Gaussian of features (B, input_size)."""
        mean, log_variance = self.parameters_of(torch.tanh(self.hidden(features))).chunk(2, dim=1)
        return Gaussian(mean, log_variance)


class Latent(nn.Module):
    """The prior p(z | x), and what z adds to the decoder's first state.

    Args:
        source_size: width of the encoded message.
        hidden_size: H of the decoder.
        latent_size: Z.

    Source: Zhao et al. 2017, section 3.1.
    """

    def __init__(self, source_size: int, hidden_size: int, latent_size: int) -> None:
        super().__init__()
        self.size = latent_size
        self.prior = GaussianNet(source_size, hidden_size, latent_size)
        self.start = nn.Linear(latent_size, hidden_size, bias=False)
