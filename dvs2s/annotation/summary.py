"""What the labels say of each row."""

from collections import Counter
from dataclasses import dataclass

from dvs2s.annotation.agreement import fleiss_kappa
from dvs2s.annotation.criteria import LABELS
from dvs2s.annotation.sheet import Sheet
from dvs2s.annotation.store import Labels


@dataclass(frozen=True)
class RowSummary:
    """The labels of one row, or of all.

    Args:
        name: of the row.
        counts: labels 0, 1 and 2.
        kappa: Fleiss' kappa over the items with the full number of labels; None without any.
        num_items: those items.
    """

    name: str
    counts: tuple[int, ...]
    kappa: float | None
    num_items: int

    @property
    def mean(self) -> float:
        """Mean label, 0 to 2; 0 without labels."""
        total = sum(self.counts)
        weighted = sum(k * n for k, n in zip(LABELS, self.counts, strict=True))
        return weighted / total if total else 0.0


def summarise(sheet: Sheet, labels: Labels) -> list[RowSummary]:
    """Returns a summary of each row in order of name, and of all items together at the end.

    Kappa needs the same number of labels for each item: it is taken over the items that all
    annotators have labelled. An item that several rows share counts for each of them.
    """
    by_item = {
        item.id: [one[item.id] for one in labels.values() if item.id in one] for item in sheet.items
    }
    names = sorted({name for rows in sheet.rows.values() for name in rows})
    found = [
        _summary(name, [by_item[i.id] for i in sheet.items if name in sheet.rows[i.id]], labels)
        for name in names
    ]
    return [*found, _summary("all items", list(by_item.values()), labels)]


def to_markdown(summaries: list[RowSummary], labels: Labels) -> str:
    """Returns the summaries as a table, and who labelled how much."""
    lines = ["| | 0 | +1 | +2 | labels | mean | Fleiss' kappa | items for kappa |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in summaries:
        total = sum(row.counts)
        shares = [f"{n / total:.1%}" if total else "–" for n in row.counts]
        kappa = "–" if row.kappa is None else f"{row.kappa:.3f}"
        name = row.name.replace("|", "\\|")
        mean = f"{row.mean:.3f}" if total else "–"
        cells = [name, *shares, str(total), mean, kappa, str(row.num_items)]
        lines.append("| " + " | ".join(cells) + " |")
    who = ", ".join(f"{name} {len(items)}" for name, items in sorted(labels.items()))
    return "\n".join([*lines, "", f"Labels by annotator: {who or 'none'}."]) + "\n"


def _summary(name: str, given: list[list[int]], labels: Labels) -> RowSummary:
    total = Counter(label for some in given for label in some)
    full = [some for some in given if len(some) == len(labels)]
    counts = [[some.count(label) for label in LABELS] for some in full]
    kappa = fleiss_kappa(counts) if full and len(labels) > 1 else None
    return RowSummary(name, tuple(total[label] for label in LABELS), kappa, len(full))
