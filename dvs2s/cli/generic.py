"""Finds what generic replies must cost: ``python -m dvs2s.cli.generic checkpoint=... share=0.1``.

The prices are stored beside the checkpoint's weights, for ``search.generic_share``.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from tqdm import tqdm

from dvs2s.answer import Answer
from dvs2s.cli.configs import GenericConfig
from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.cli.runtime import checkpoint_data, open_responder
from dvs2s.config import SearchConfig
from dvs2s.coverage.generic import GenericBound, find_bound, write
from dvs2s.data.corpus import PreparedData
from dvs2s.errors import ConfigError
from dvs2s.evaluation.diversity import distinct_per_token, generic_share, unique_replies
from dvs2s.responder import Responder
from dvs2s.scoring import answers_to, grouped


def main(config: GenericConfig) -> None:
    """Stores prices, and prints what they do to replies that had no part in finding them."""
    responder = open_responder(config, recalibrate=("generic",))
    search = responder.search_config(**config.search.given(), generic_share=1.0)
    if "beam" not in search.kind:
        raise ConfigError(f"search.kind must be a beam, got {search.kind!r}: set search=beam")
    search = replace(search, num_best=search.beam)
    data = checkpoint_data(responder, config.data_root, config.split)
    with open_output("out", config.out or "-") as out:
        bound = _bound(config, responder, data, search)
        assert responder.source is not None
        path = write(responder.source, bound)
        print(f"{bound.messages} messages of {config.split} priced: {path}", file=sys.stderr)
        rows = _measured(config, responder, data, search, bound)
        if config.out:
            json.dump({"bound": _plain(bound), "report": config.report, "rows": rows}, out)
    print(as_text(rows, config.report) if rows else "no split to report on: none is given or there")


def _bound(
    config: GenericConfig, responder: Responder, data: PreparedData, search: SearchConfig
) -> GenericBound:
    answers = _answers(config, responder, data, config.split, search)
    if len(answers) < 2:
        raise ConfigError(f"limit must leave at least 2 messages of {config.split}, got fewer")
    return find_bound(answers, asdict(search), config.share, config.replies)


def _answers(
    config: GenericConfig,
    responder: Responder,
    data: PreparedData,
    split: str,
    search: SearchConfig,
) -> list[Answer]:
    corpus = data.split(split)
    places = [group[0] for group in grouped(corpus, len(corpus))]
    places = places[: config.limit or len(places)]
    with tqdm(total=len(places), unit=" messages", file=sys.stderr, disable=None) as bar:
        return answers_to(responder, corpus, places, search, config.batch_size, bar.update)


def _measured(
    config: GenericConfig,
    responder: Responder,
    data: PreparedData,
    search: SearchConfig,
    bound: GenericBound,
) -> list[dict[str, float | None]]:
    if config.report not in data.splits:
        return []
    answers = _answers(config, responder, data, config.report, search)
    rows = [_row(answers, bound, None, 0.0)]
    for share, price in bound.prices.items():
        if price is not None:
            ranked = [bound.ranked(answer, price, 1) for answer in answers]
            rows.append(_row(ranked, bound, share, price))
    return rows


def _row(
    answers: Sequence[Answer], bound: GenericBound, share: float | None, price: float
) -> dict[str, float | None]:
    replies = [answer.replies[0].tokens for answer in answers]
    return {
        "share": share,
        "price": price,
        "generic": sum(reply in bound.replies for reply in replies) / len(replies),
        "20 most frequent": generic_share(replies),
        "unique": unique_replies(replies),
        "distinct-2": distinct_per_token(replies, 2),
    }


def _plain(bound: GenericBound) -> dict[str, object]:
    return {
        "replies": sorted(" ".join(words) for words in bound.replies),
        "prices": [[share, price] for share, price in bound.prices.items()],
        "messages": bound.messages,
    }


def as_text(rows: Sequence[dict[str, float | None]], split: str) -> str:
    """Returns a table for a terminal, a row a share."""
    lines = [f"on {split}, which had no part in the prices:"]
    lines.append("at most   price  generic  20 most frequent  unique  distinct-2")
    for row in rows:
        share = "-" if row["share"] is None else f"{row['share']:.3f}"
        figures = [row[name] or 0.0 for name in list(row)[1:]]
        lines.append("{:>7} {:7.3f}  {:7.3f}  {:16.3f}  {:6.3f}  {:10.4f}".format(share, *figures))
    return "\n".join(lines)


if __name__ == "__main__":
    run("generic", GenericConfig, main)
