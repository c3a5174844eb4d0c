"""Blinded, shuffled items out of several rows' replies, and the key that tells whose they are.

<folder>/items.jsonl   a line an item: id, message, reply; nothing says which row it is of
<folder>/key.json      id -> rows; not for annotators
<folder>/sheet.csv     the same items to be filled in without the web page
"""

import csv
import io
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dvs2s.errors import DataError


@dataclass(frozen=True)
class Item:
    """What an annotator sees.

    Args:
        id: says nothing about where the reply is from.
        message: as text; turns are separated by line breaks.
        reply: as text.
    """

    id: str
    message: str
    reply: str


@dataclass(frozen=True)
class Sheet:
    """Items in the order that they were shuffled into, and whose they are.

    Args:
        items: to be judged.
        rows: names of the rows by item; several where they gave the same reply.
    """

    items: tuple[Item, ...]
    rows: Mapping[str, tuple[str, ...]]


Said = Sequence[tuple[str, str]]
"""Message and reply of each message of a row."""


def make_sheet(said: Mapping[str, Said], *, number: int, seed: int) -> Sheet:
    """Returns items for ``number`` messages, drawn and shuffled by the seed.

    Rows that reply alike share an item: what nobody can tell apart is not judged twice.

    Args:
        said: by row; all rows answer the same messages in the same order.
        number: of messages; at most those there are.
        seed: 0 or more.

    Raises:
        ValueError: no rows, other messages in one of them, or a number out of range.
    """
    if not said:
        raise ValueError("said must hold at least one row, got none: name files of replies")
    first, *_ = said
    messages = [message for message, _ in said[first]]
    for name, pairs in said.items():
        if [message for message, _ in pairs] != messages:
            raise ValueError(
                f"rows must answer the same messages in the same order, not so {name!r} and "
                f"{first!r}: evaluate both on the same split"
            )
    if not 1 <= number <= len(messages):
        raise ValueError(f"number must be 1 to the {len(messages)} messages, got {number}")
    chance = random.Random(seed)
    found: dict[tuple[int, str], list[str]] = {}
    for place in sorted(chance.sample(range(len(messages)), number)):
        for name, pairs in said.items():
            found.setdefault((place, pairs[place][1]), []).append(name)
    order = list(found)
    chance.shuffle(order)
    items, rows = [], {}
    for index, (place, reply) in enumerate(order, 1):
        item = Item(f"{index:05d}", messages[place].replace(" <sep> ", "\n"), reply)
        items.append(item)
        rows[item.id] = tuple(found[place, reply])
    return Sheet(tuple(items), rows)


def read_replies(path: Path) -> list[tuple[str, str]]:
    """Returns messages and replies of a file of ``dvs2s.cli.evaluate replies=...`` or of a table.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [(str(row["message"]), str(row["reply"])) for row in rows]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of replies ({error!r})") from error


def save_sheet(folder: Path, sheet: Sheet) -> None:
    """Writes the three files of a sheet; key.json last, by which it is known to be complete.

    Raises:
        DataError: the folder holds a sheet already, whose labels would lose their meaning.
    """
    if (folder / "key.json").exists():
        raise DataError(f"{folder} holds a sheet already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in sheet.items]
    _write(folder / "items.jsonl", "".join(lines))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "message", "reply", "label"])
    writer.writerows([item.id, item.message, item.reply, ""] for item in sheet.items)
    _write(folder / "sheet.csv", out.getvalue())
    _write(folder / "key.json", json.dumps(dict(sheet.rows), ensure_ascii=False))


def load_sheet(folder: Path) -> Sheet:
    """Returns the sheet of a folder.

    Raises:
        DataError: there is none, or it is damaged.
    """
    try:
        lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
        items = tuple(Item(**json.loads(line)) for line in lines)
        key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
        rows = {item.id: tuple(key[item.id]) for item in items}
    except OSError as error:
        raise DataError(
            f"{folder} holds no sheet ({error.strerror}): make one with mode=make"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: the sheet is damaged ({error!r})") from error
    return Sheet(items, rows)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.part")
    with partial.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
