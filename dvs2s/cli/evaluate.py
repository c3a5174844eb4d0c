"""Scores a checkpoint: ``python -m dvs2s.cli.evaluate checkpoint=runs/smalltalk split=test``."""

import json
import sys
from pathlib import Path

from tqdm import tqdm

from dvs2s.build import prepared_data
from dvs2s.cli.configs import EvaluateConfig
from dvs2s.cli.entry import run
from dvs2s.cli.runtime import open_responder
from dvs2s.errors import DataError
from dvs2s.evaluation.report import to_text
from dvs2s.scoring import Scored, score


def main(config: EvaluateConfig) -> None:
    """Prints a table for people; writes JSON and replies where asked."""
    responder = open_responder(config)
    search = responder.search_config(**config.search.given())
    source = responder.config.data
    source.root = config.data_root or source.root
    data = prepared_data(source, progress=True)
    if config.split not in data.splits:
        raise DataError(f"{data.folder} has no split {config.split}: it has {data.splits}")
    pairs = len(data.split(config.split))
    with tqdm(total=2 * (min(config.limit, pairs) or pairs), file=sys.stderr, disable=None) as bar:
        scored = score(
            responder,
            data,
            split=config.split,
            search=search,
            limit=config.limit,
            batch_size=config.batch_size,
            advance=bar.update,
        )
        bar.total = bar.n  # several responses to one message are one reply
    print(to_text([scored.report]), end="")
    _write(config.out, scored.report.to_json() + "\n")
    _write(config.replies, "".join(_lines(scored)))


def _lines(scored: Scored) -> list[str]:
    rows = zip(scored.messages, scored.references, scored.answers, strict=True)
    return [
        json.dumps(
            {
                "message": message,
                "reply": " ".join(answer.replies[0].tokens),
                "references": [" ".join(reference) for reference in references],
            },
            ensure_ascii=False,
        )
        + "\n"
        for message, references, answer in rows
    ]


def _write(name: str, text: str) -> None:
    if not name:
        return
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error


if __name__ == "__main__":
    run("evaluate", EvaluateConfig, main)
