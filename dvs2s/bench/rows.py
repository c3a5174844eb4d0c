"""The decoding benchmark's figures: for machines, for a terminal, for a page."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from dvs2s.bench.presets import Setting

MESSAGE_WORDS = 15
REPLY_WORDS = 15


@dataclass(frozen=True)
class Row:
    """One contender at one task.

    Args:
        setting: the task.
        name: of the contender; vocabulary: ``full`` or ``dynamic``.
        ms: median of a batch's milliseconds; p95, p99: that 95 and 99 of 100 stay within.
        ms_per_reply, words_per_second: from the median.
        times_faster: the baseline's median over this one's; the baseline is the first contender.
        agreement: share of words equal to its reference's over the same vocabulary: the plain
            float32 search, or the peer's own float32; None where that took no part.
        peak_mb: by which a run raised the process's memory.
        weights_mb: by which making the contender did.
        stages: median milliseconds by stage.
        floor_ms: what the machine's measured rates leave at least; None where it is not computed.
        note: what has to be known to compare it.
    """

    setting: Setting
    name: str
    vocabulary: str
    ms: float
    p95: float
    p99: float
    ms_per_reply: float
    words_per_second: float
    times_faster: float
    agreement: float | None
    peak_mb: float
    weights_mb: float
    stages: dict[str, float] = field(default_factory=dict)
    floor_ms: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Missing:
    """A contender that is not installed: its name, vocabulary, and what to do about it."""

    name: str
    vocabulary: str
    why: str


def as_json(rows: list[Row], missing: list[Missing], machine: dict[str, Any]) -> dict[str, Any]:
    """Returns plain JSON types."""
    return {
        "machine": machine,
        "rows": [asdict(row) for row in rows],
        "missing": [asdict(one) for one in missing],
    }


def as_table(rows: list[Row], missing: list[Missing]) -> str:
    """Returns lines of text for people, a block for every setting."""
    lines: list[str] = []
    for setting in settings_of(rows):
        lines.append(f"\n{setting.describe()}, {MESSAGE_WORDS} words in, {REPLY_WORDS} out")
        lines.append(
            f"{'':46}{'vocabulary':>11}{'ms':>10}{'p99':>10}{'words/s':>10}{'faster':>8}"
            f"{'same':>7}{'peak MB':>9}{'floor':>8}  stages, ms"
        )
        lines += [_line(row) for row in rows if row.setting == setting]
        lines += [f"{one.name:46}{one.vocabulary:>11}  {one.why}" for one in missing]
    return "\n".join(lines).lstrip("\n")


def as_markdown(rows: list[Row], missing: list[Missing], machine: dict[str, Any]) -> str:
    """Returns the same as a page: a table for every setting, notes below."""
    load = ", ".join(f"{x:.1f}" for x in machine["load_average"])
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {machine['clock']} clock, reading "
        f"{machine['read_gb_per_second']:.0f} GB/s from memory; load average {load}."
    ]
    head = "| | vocabulary | ms | p99 | words/s | times faster | same | peak MB | weights MB |"
    for setting in settings_of(rows):
        lines += ["", f"**{setting.describe()}**", "", f"{head} floor, ms | stages, ms |"]
        lines.append("|---|---|" + "---:|" * 8 + "---|")
        for row in (row for row in rows if row.setting == setting):
            cells = [row.name, row.vocabulary, f"{row.ms:.2f}", f"{row.p99:.2f}"]
            cells += [f"{row.words_per_second:.0f}", f"{row.times_faster:.1f}", _share(row)]
            cells += [f"{row.peak_mb:.0f}", f"{row.weights_mb:.0f}", _floor(row), _stages(row)]
            lines.append("| " + " | ".join(cells) + " |")
    notes = {row.name: row.note for row in rows if row.note}
    lines += [""] + [f"- {name}: {note}" for name, note in notes.items()]
    lines += [f"- {one.name} ({one.vocabulary}): {one.why}" for one in missing]
    return "\n".join(lines).rstrip() + "\n"


def ratios(rows: list[Row]) -> list[tuple[Setting, str, float]]:
    """Returns, for every setting and program with both, its dynamic time over its full one."""
    found = []
    times = {(row.setting, row.name, row.vocabulary): row.ms for row in rows}
    for (setting, name, vocabulary), ms in times.items():
        if vocabulary == "dynamic" and (setting, name, "full") in times:
            found.append((setting, name, ms / times[setting, name, "full"]))
    return found


def settings_of(rows: list[Row]) -> list[Setting]:
    """Returns the rows' settings in their order."""
    return list(dict.fromkeys(row.setting for row in rows))


def draw(rows: list[Row], path: Any) -> None:
    """Draws dynamic over full by V, milliseconds a reply by batch, and stages.

    Args:
        rows: of one run.
        path: of a picture that matplotlib can write.

    Raises:
        ImportError: matplotlib is missing: ``pip install 'dvs2s[bench]'``.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(15, 5), layout="constrained")
    _draw_lines(
        axes[0], rows, lambda s: s.vocabulary_size, lambda s: (s.num_words, s.batch, s.beam)
    )
    axes[0].set(xlabel="V, words", title="by vocabulary (colour: |T|, batch, beam)")
    _draw_lines(
        axes[1], rows, lambda s: s.batch, lambda s: (s.vocabulary_size, s.num_words, s.beam)
    )
    axes[1].set(xlabel="batch, messages", title="by batch (colour: V, |T|, beam)")
    _draw_stages(axes[2], rows)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_lines(
    axis: Any, rows: list[Row], along: Callable[[Setting], int], kind: Callable[[Setting], Any]
) -> None:
    """Draws milliseconds a reply along one size, for all that vary in it: full dashed."""
    kinds = [
        one
        for one in dict.fromkeys(kind(row.setting) for row in rows)
        if len({along(row.setting) for row in rows if kind(row.setting) == one}) > 1
    ]
    names = dict.fromkeys((row.name, row.vocabulary) for row in rows if "engine" in row.name)
    for colour, one in enumerate(kinds):
        for name, vocabulary in names:
            chosen = [
                (along(row.setting), row.ms_per_reply)
                for row in rows
                if (row.name, row.vocabulary) == (name, vocabulary) and kind(row.setting) == one
            ]
            label = f"{one}, {name}" if vocabulary == "dynamic" else None
            style = "o-" if vocabulary == "dynamic" else "s--"
            axis.plot(*zip(*sorted(chosen), strict=True), style, c=f"C{colour}", label=label)
    axis.set(xscale="log", yscale="log", ylabel="ms a reply (dashed: full vocabulary)")
    if kinds:
        axis.legend(fontsize=7)


def _draw_stages(axis: Any, rows: list[Row]) -> None:
    """Draws the stages of one message's dynamic replies, stacked."""
    single = [
        row for row in rows if row.stages and row.vocabulary == "dynamic" and row.setting.batch == 1
    ]
    labels = [f"{row.name}\n{row.setting.describe()}" for row in single]
    left = [0.0] * len(single)
    for stage in dict.fromkeys(name for row in single for name in row.stages):
        widths = [row.stages.get(stage, 0.0) for row in single]
        axis.barh(labels, widths, left=left, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axis.tick_params(axis="y", labelsize=6)
    axis.set(xlabel="ms", title="stages, one message")
    if single:
        axis.legend(fontsize=7)


def _line(row: Row) -> str:
    note = f"  {row.note}" if row.note else ""
    return (
        f"{row.name:46}{row.vocabulary:>11}{row.ms:10.2f}{row.p99:10.2f}"
        f"{row.words_per_second:10.0f}{row.times_faster:8.1f}{_share(row):>7}{row.peak_mb:9.1f}"
        f"{_floor(row):>8}  {_stages(row)}{note}"
    )


def _share(row: Row) -> str:
    return "-" if row.agreement is None else f"{row.agreement:.3f}"


def _floor(row: Row) -> str:
    return "-" if row.floor_ms is None else f"{row.floor_ms:.1f}"


def _stages(row: Row) -> str:
    return ", ".join(f"{name} {ms:.1f}" for name, ms in row.stages.items())
