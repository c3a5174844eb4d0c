"""Whether the lens names a message's topic word as what brought the topic's words in.

    python benchmarks/lens_topics.py --checkpoint runs/smalltalk --out benchmarks/results/lens.json

A topic's words are its ``keywords`` (``data/smalltalk/topics/<topic>.json``), which training does
not read. Looked at are the held-out ``test_messages`` in which exactly one keyword of their topic
stands: that is the message's topic word. Each keyword of the topic that the message admits counts
once: the lens is right when, among the erasures of all words of the message, that of the topic word
lowers its β most. ``by chance`` is the mean of one over the number of the message's words;
``longest word`` names the message's longest word in place of the lens's answer.
"""

import argparse
import json
from pathlib import Path

from on_topic import topics

import dvs2s


def measure(bot: dvs2s.Responder, split: str) -> dict[str, float]:
    """Returns counts and shares over the messages whose topic word is known."""
    messages = right = others = others_right = whole = longest = 0
    chance = 0.0
    for topic in topics():
        keywords = set(topic["keywords"])
        for message in topic[split]:
            lens = bot.lens(message)
            known = [i for i, word in enumerate(lens.message_words) if word in keywords]
            if len(known) != 1 or len(lens.message_words) < 2:
                continue
            messages += 1
            (place,) = known
            lengths = [len(word) for word in lens.message_words]
            for word in lens.words:
                if word.word not in keywords:
                    continue
                whole += 1
                is_right = word.brought_in_by == place
                right += is_right
                chance += 1 / len(lens.message_words)
                longest += lengths.index(max(lengths)) == place
                if not word.is_message_word:
                    others += 1
                    others_right += is_right
    return {
        "messages with one topic word": messages,
        "admitted topic words": whole,
        "topic word ranks first": right / whole,
        "admitted topic words that are not in the message": others,
        "topic word ranks first, of these": others_right / others,
        "by chance": chance / whole,
        "longest word is the topic word": longest / whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="runs/smalltalk")
    parser.add_argument(
        "--split", default="test_messages", choices=["test_messages", "valid_messages"]
    )
    parser.add_argument("--out", default=None, help="JSON file")
    options = parser.parse_args()
    bot = dvs2s.load(options.checkpoint)
    result = {
        "checkpoint": options.checkpoint,
        "split": options.split,
        "updates": bot.config.trainer.max_updates,
        "|T|": bot.config.search.size,
        **measure(bot, options.split),
    }
    for name, value in result.items():
        print(f"{name:50} {value:.3f}" if isinstance(value, float) else f"{name:50} {value}")
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
