"""How often the default model answers an unseen paraphrase on topic.

    python benchmarks/on_topic.py --checkpoint runs/smalltalk --out benchmarks/results/on_topic.json

A reply is on topic when it is one of the topic's own replies or holds one of its keywords
(``data/smalltalk/topics/<topic>.json``). The messages are the held-out ``test_messages``, none of
which is a training message. ``by chance`` judges the same replies against the next topic's words.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import dvs2s
from dvs2s.paths import embedded_corpus
from dvs2s.text.tokenizer import get_tokenizer


def topics() -> list[dict[str, list[str]]]:
    return [
        json.loads(path.read_text("utf-8")) for path in sorted(embedded_corpus().glob("*.json"))
    ]


class Judge:
    """Says whether a reply belongs to a topic."""

    def __init__(self, topic: dict[str, list[str]], tokenizer_name: str) -> None:
        tokenize = get_tokenizer(tokenizer_name).tokenize
        self._replies = {tuple(tokenize(reply)) for reply in topic["replies"]}
        self._keywords = set(topic["keywords"])

    def is_own_reply(self, tokens: tuple[str, ...]) -> bool:
        return tokens in self._replies

    def is_on_topic(self, tokens: tuple[str, ...]) -> bool:
        return self.is_own_reply(tokens) or bool(self._keywords & set(tokens))


def measure(bot: dvs2s.Responder, split: str, search: dict[str, object]) -> dict[str, float]:
    """Returns shares over all held-out messages, and the milliseconds a reply took."""
    all_topics = topics()
    judges = [Judge(topic, bot.vocabulary.tokenizer) for topic in all_topics]
    on_topic = own = chance = total = 0
    start = time.perf_counter()
    for place, topic in enumerate(all_topics):
        for answer in bot.answers(topic[split], bot.search_config(**search)):
            tokens = answer.replies[0].tokens
            total += 1
            on_topic += judges[place].is_on_topic(tokens)
            own += judges[place].is_own_reply(tokens)
            chance += judges[(place + 1) % len(judges)].is_on_topic(tokens)
    return {
        "messages": total,
        "on topic": on_topic / total,
        "one of the topic's replies": own / total,
        "on topic by chance": chance / total,
        "ms per reply": 1000 * (time.perf_counter() - start) / total,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="runs/smalltalk")
    parser.add_argument(
        "--split", default="test_messages", choices=["test_messages", "valid_messages"]
    )
    parser.add_argument("--kind", default=None, help="greedy, beam or sampling")
    parser.add_argument("--size", type=int, default=None, help="|T|")
    parser.add_argument("--out", default=None, help="JSON file")
    options = parser.parse_args()
    bot = dvs2s.load(options.checkpoint)
    search = {"kind": options.kind, "num_best": 1} if options.kind else {}
    if options.size:
        search["size"] = options.size
    result = {
        "checkpoint": options.checkpoint,
        "split": options.split,
        "updates": bot.config.trainer.max_updates,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        **measure(bot, options.split, search),
    }
    for name, value in result.items():
        print(f"{name:28} {value:.3f}" if isinstance(value, float) else f"{name:28} {value}")
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
