"""Models of random weights to be timed."""

import torch
from torch import Tensor

from dvs2s.model import Dvs2sModel, ModelSizes


@torch.no_grad()
def random_model(sizes: ModelSizes) -> Dvs2sModel:
    """Returns a model of random weights whose word predictor has a trained one's proportions.

    Its biases are the prior that training starts from, by Zipf's law. Its rows and hidden vectors
    are as long as those of a model trained on DailyDialog, in 64 directions and in all others:
    1.14 and 0.95, 7.4 and 2.1. How many rows have to be read turns on that.
    """
    model = Dvs2sModel(sizes).eval()
    predictor, width = model.word_predictor, sizes.predictor_size
    ranks = torch.arange(1, sizes.vocabulary_size - sizes.num_fixed + 1)
    predictor.set_prior(0.5 / ranks.float())
    leading = torch.linalg.qr(torch.randn(width, min(64, width // 2))).Q
    predictor.output.weight.copy_(_stretched(predictor.output.weight, leading, 1.14, 0.95))
    bag = float(predictor.bags.weight.std()) * (2 * sizes.bag_size) ** 0.5
    hidden = _stretched(predictor.hidden.weight.T, leading, 7.4, 2.1)
    predictor.hidden.weight.copy_(hidden.T / bag)
    return model


def _stretched(rows: Tensor, leading: Tensor, along: float, across: float) -> Tensor:
    """Returns random rows that are so long along the leading directions and across them."""
    rows = torch.randn_like(rows)
    inside = rows @ leading @ leading.T
    rest = (rows - inside) * (across / (rows.shape[1] - leading.shape[1]) ** 0.5)
    stretched: Tensor = inside * (along / leading.shape[1] ** 0.5) + rest
    return stretched
