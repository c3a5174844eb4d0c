"""Scores a checkpoint: ``python -m dvs2s.cli.evaluate checkpoint=runs/smalltalk split=test``."""

import json
import logging
import sys
from contextlib import ExitStack

from tqdm import tqdm

from dvs2s.build import new_shortlist
from dvs2s.cli.configs import EvaluateConfig
from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.cli.runtime import checkpoint_data, open_responder
from dvs2s.config import SHORTLISTS, SearchConfig
from dvs2s.data.corpus import PreparedData
from dvs2s.evaluation.report import to_text
from dvs2s.parallel.group import Group, open_group, own_device
from dvs2s.responder import Responder
from dvs2s.scoring import Scored, score

logger = logging.getLogger("dvs2s")


def main(config: EvaluateConfig) -> None:
    """Prints a table for people; writes JSON and replies where asked."""
    config.device = own_device(config.device)
    with open_group(config.device) as group:
        _evaluate(config, group)


def _evaluate(config: EvaluateConfig, group: Group) -> None:
    if not group.is_first:
        logger.setLevel(logging.WARNING)
    responder = open_responder(config)
    data = checkpoint_data(responder, config.data_root, config.split)
    if config.search.vocabulary in SHORTLISTS:
        kind = config.search.vocabulary
        responder.shortlists[kind] = new_shortlist(kind, data)
    search = responder.search_config(**config.search.given())
    if not group.is_first:
        _score(config, responder, data, search, group)
        return
    with ExitStack() as files:  # opened first: a bad name must not cost the whole evaluation
        report = config.out and files.enter_context(open_output("out", config.out))
        replies = config.replies and files.enter_context(open_output("replies", config.replies))
        scored = _score(config, responder, data, search, group)
        print(to_text([scored.report]), end="")
        if report:
            report.write(scored.report.to_json() + "\n")
        if replies:
            replies.writelines(_lines(scored))


def _score(
    config: EvaluateConfig,
    responder: Responder,
    data: PreparedData,
    search: SearchConfig,
    group: Group,
) -> Scored:
    pairs = len(data.split(config.split))
    total = 2 * (min(config.limit, pairs) or pairs) // group.size
    silent = None if group.is_first else True
    with tqdm(total=total, file=sys.stderr, disable=silent) as bar:
        scored = score(
            responder,
            data,
            split=config.split,
            search=search,
            name=config.name,
            limit=config.limit,
            batch_size=config.batch_size,
            advance=bar.update,
            group=group,
        )
        bar.total = bar.n  # several responses to one message are one reply
    return scored


def _lines(scored: Scored) -> list[str]:
    rows = zip(scored.messages, scored.references, scored.replies, strict=True)
    return [
        json.dumps(
            {
                "message": message,
                "reply": " ".join(reply),
                "references": [" ".join(reference) for reference in references],
            },
            ensure_ascii=False,
        )
        + "\n"
        for message, references, reply in rows
    ]


if __name__ == "__main__":
    run("evaluate", EvaluateConfig, main)
