"""Fleiss' kappa: how much annotators agree beyond chance."""

from collections.abc import Sequence


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float:
    """Returns (P - P_e) / (1 - P_e), 1 for perfect agreement and about 0 for chance.

    Args:
        counts: for each item how many annotators gave each label; every item has the same number
            of labels, at least 2.

    Returns:
        kappa; 1 where all annotators always gave one and the same label, for which it is not
        defined.

    Raises:
        ValueError: no items, or numbers of labels that differ or are below 2.

    Source: Fleiss 1971, equations 3 to 7.
    """
    totals = {sum(row) for row in counts}
    if len(totals) != 1 or min(totals) < 2:
        raise ValueError(
            f"counts must have the same number of labels, at least 2, for every item, got "
            f"{sorted(totals) or 'no items'}"
        )
    number = totals.pop()
    agreement = sum(sum(n * (n - 1) for n in row) for row in counts)
    observed = agreement / (len(counts) * number * (number - 1))
    shares = [sum(column) / (len(counts) * number) for column in zip(*counts, strict=True)]
    by_chance = sum(share * share for share in shares)
    return 1.0 if by_chance == 1 else (observed - by_chance) / (1 - by_chance)
