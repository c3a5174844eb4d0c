"""The lens as a heat map: message words down, admitted words across."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvs2s.errors import Dvs2sError
from dvs2s.lens import Lens

logger = logging.getLogger("dvs2s")

_CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei"),
    *("SimHei", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS"),
)


@contextmanager
def _fonts(path: Path) -> Iterator[None]:
    """Draws Chinese words in a font of this machine that has them; says so where there is none."""
    import matplotlib.pyplot as plt
    from matplotlib import font_manager

    here = {font.name for font in font_manager.fontManager.ttflist}
    family = ["DejaVu Sans", *(name for name in _CHINESE if name in here)]
    with plt.rc_context({"font.family": family}), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing = [w for w in caught if "missing from font" in str(w.message)]
    for other in caught:
        if other not in missing:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if missing:
        logger.warning(
            "%s: no font of this machine has %d of its characters, which are boxes: install one "
            "(Noto Sans CJK for Chinese), or write out=lens.json",
            path,
            len({str(w.message) for w in missing}),
        )


def draw(lens: Lens, path: Path) -> None:
    """Draws the nats that erasing each message word takes from the logit of each β.

    Red is a word that brought the column's word in, blue one that held it back; a ring marks the
    erasure that lowers β most.

    Args:
        lens: with at least one admitted word.
        path: ends in .png.

    Raises:
        Dvs2sError: matplotlib is missing.
        ValueError: no word to draw.
    """
    if not lens.words:
        raise ValueError("lens must hold at least one admitted word: ask for words=25")
    try:
        import matplotlib
    except ImportError as error:
        raise Dvs2sError(
            f"a picture needs matplotlib ({error}): pip install 'dvs2s[bench]', or leave out "
            f"empty for the table"
        ) from error
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with _fonts(path):
        figure = _figure(lens)
        figure.savefig(path, dpi=120)
    plt.close(figure)


def _figure(lens: Lens) -> Any:
    """Returns matplotlib's figure of a lens."""
    import matplotlib.pyplot as plt

    columns, rows = len(lens.words), len(lens.message_words)
    drops = [[word.drops[row] for word in lens.words] for row in range(rows)]
    strongest = max(1e-3, max(abs(value) for row in drops for value in row))
    figure, axis = plt.subplots(
        figsize=(2.2 + 0.34 * columns, 1.9 + 0.34 * rows), layout="constrained"
    )
    image = axis.imshow(drops, cmap="RdBu_r", vmin=-strongest, vmax=strongest, aspect="auto")
    labels = [f"{word.word}{'*' if word.is_message_word else ''}" for word in lens.words]
    axis.set_xticks(range(columns), labels, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(rows), lens.message_words)
    best = [(place, word.brought_in_by) for place, word in enumerate(lens.words)]
    ringed = [(x, y) for x, y in best if y is not None]
    axis.scatter(
        [x for x, _ in ringed], [y for _, y in ringed], s=26, facecolors="none", edgecolors="black"
    )
    axis.set_xlabel("admitted content words, likely ones first (* stands in the message)")
    axis.set_ylabel("erased word")
    axis.set_title(f"{lens.size:,} of {lens.total:,} words admitted", fontsize="medium")
    figure.colorbar(image, ax=axis, label="nats taken from the logit of β", shrink=0.9)
    return figure
