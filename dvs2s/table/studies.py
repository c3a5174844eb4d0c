"""The rows of a study: one thing varied, everything else as in the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dvs2s.table.result import Point

PARAMETERS = {
    "size": "|T|",
    "alpha": "selection exponent α",
    "exponent": "exponent of the negatives' frequency",
    "price": "price of a row, nats",
}


@dataclass(frozen=True)
class Variant:
    """A row of a study before anything is trained.

    Args:
        name: of the row.
        point: where it stands.
        model: name of the model; variants of one name share their runs.
        overrides: of training.
        search: of decoding.
    """

    name: str
    point: Point
    model: str
    overrides: tuple[str, ...]
    search: Mapping[str, Any] = field(default_factory=dict)


def variants(kind: str, values: Sequence[float]) -> list[Variant]:
    """Returns the rows of a study.

    Args:
        kind: ``size`` and ``alpha`` vary the search of trained models, ``exponent`` and ``price``
            train a model a value.
        values: along the curve.

    Raises:
        ValueError: another kind, or no values.
    """
    if not values:
        raise ValueError("values must not be empty, got none: name at least one")
    match kind:
        case "size":
            return [row for value in values for row in _sizes(int(value))]
        case "alpha":
            return [row for value in values for row in _alphas(float(value))]
        case "exponent":
            return [_trained("exponent", value, _EXPONENT) for value in values]
        case "price":
            return [_trained("price", value, _PRICE) for value in values]
    raise ValueError(f"kind must be one of {', '.join(PARAMETERS)}, got {kind!r}")


_S2SA = ("S2SA", ("objective=s2sa",))
_SEPARATE = ("S-DVS2S", ("objective=s_dvs2s",))
_JOINT = ("DVS2S", ("objective=dvs2s",))
_EXPONENT = (
    "objective.negatives.kind=sampled",
    "objective.negatives.exponent={value:g}",
)
_PRICE = ("objective.budget=0", "objective.price={value:g}")


def _sizes(size: int) -> list[Variant]:
    kinds = [
        ("frequency", _S2SA, "frequency"),
        ("lexical", _S2SA, "lexical"),
        ("S-DVS2S", _SEPARATE, "size"),
        ("DVS2S", _JOINT, "size"),
    ]
    return [
        Variant(
            f"{series} {size}",
            Point(series, size),
            *model,
            {"vocabulary": vocabulary, "size": size, "alpha": 0.0},
        )
        for series, model, vocabulary in kinds
    ]


def _alphas(alpha: float) -> list[Variant]:
    return [
        Variant(
            f"{model[0]} α={alpha:g}",
            Point(model[0], alpha),
            *model,
            {"vocabulary": "size", "alpha": alpha},
        )
        for model in (_SEPARATE, _JOINT)
    ]


def _trained(kind: str, value: float, overrides: Sequence[str]) -> Variant:
    own = tuple(option.format(value=value) for option in overrides)
    name = f"DVS2S {kind}={value:g}"
    return Variant(name, Point("DVS2S", value), name.replace(" ", "-"), (*_JOINT[1], *own))
