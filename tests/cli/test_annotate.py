"""From files of replies to a report, over HTTP, with a crash in between."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import Command


def ask(address: str, path: str, body: Any, kind: str = "application/json") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}{path}", data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def refused(address: str, path: str, body: Any, kind: str = "application/json") -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(address, path, body, kind)
    with caught.value as error:
        return error.code, json.loads(error.read())["error"]


def served(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dvs2s.cli.annotate", "mode=serve", f"folder={folder}", "port=0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    line = process.stdout.readline()
    return process, re.findall(r"http://\S+", line)[0]


def test_from_replies_to_a_report(command: Command, tmp_path: Path) -> None:
    files = []
    for name in ("S2SA", "DVS2S"):
        path = tmp_path / f"{name}.jsonl"
        lines = [{"message": f"m {i}", "reply": f"<b>{name} {i}"} for i in range(9)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        files.append(f"{name}: {path}")
    folder = tmp_path / "people"
    rows = f"+rows={{{', '.join(files)}}}"
    made = command("annotate", "mode=make", f"folder={folder}", rows, "number=5")
    assert made.code == 0 and made.out == f"{folder}: 10 items of 5 messages and 2 rows\n"
    again = command("annotate", "mode=make", f"folder={folder}", rows)
    assert again.code == 2 and "holds a sheet already" in again.err

    process, address = served(folder)
    with process:
        with urllib.request.urlopen(address, timeout=20) as answer:
            text = answer.read().decode()
        assert "too universal" in text and "S2SA" not in text
        shown = ask(address, "/items", {"annotator": "Ann"})
        assert len(shown["items"]) == 10 and shown["labels"] == {}
        assert shown == ask(address, "/items", {"annotator": "Ann"})  # an order of one's own
        assert "S2SA" not in json.dumps([item["id"] for item in shown["items"]])
        for item in shown["items"][:6]:
            ask(address, "/label", {"annotator": "Ann", "item": item["id"], "label": 2})
        first = shown["items"][0]["id"]
        bad = {"annotator": "Ann", "item": first}
        assert refused(address, "/label", bad) == (400, "'label'")
        assert refused(address, "/label", {**bad, "label": 7})[0] == 400
        assert refused(address, "/label", {**bad, "label": 1}, "text/plain")[0] == 400
        assert refused(address, "/label", b"x" * 5000)[0] == 400
        assert refused(address, "/label", b"[]")[0] == 400
        assert refused(address, "/items", {"annotator": "<script>"})[0] == 400
        assert refused(address, "/nothing", {"annotator": "Ann"})[0] == 404
        process.kill()  # a crash
    process, address = served(folder)
    with process:
        shown = ask(address, "/items", {"annotator": "Ann"})
        assert list(shown["labels"].values()) == [2] * 6
        for item in shown["items"]:
            for name, label in (("Ann", 2), ("Bob", 1)):
                ask(address, "/label", {"annotator": name, "item": item["id"], "label": label})
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130

    report = command("annotate", f"folder={folder}")
    assert report.code == 0
    assert "| S2SA | 0.0% | 50.0% | 50.0% | 10 | 1.500 | -1.000 | 5 |" in report.out
    assert "Ann 10, Bob 10" in report.out
    sheet = folder / "sheet.csv"
    filled = tmp_path / "cy.csv"
    filled.write_text(
        sheet.read_text().replace(",\n", ",2\n").replace("reply,label", "reply,label")
    )
    added = command(
        "annotate", "mode=import", f"folder={folder}", "annotator=Cy", f"sheet={filled}"
    )
    assert added.code == 0 and added.out == f"{filled}: 10 labels of Cy\n"
    assert "Cy 10" in command("annotate", f"folder={folder}").out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["mode=make"], "rows names no file of replies"),
        (["mode=make", "+rows={A: nowhere.jsonl}"], "cannot read nowhere.jsonl"),
        (["mode=serve"], "holds no sheet"),
        (["mode=import"], "mode=import needs annotator=NAME and sheet=FILE"),
    ],
)
def test_a_mistake_is_explained(
    command: Command, tmp_path: Path, options: list[str], reason: str
) -> None:
    ran = command("annotate", f"folder={tmp_path}", *options)
    assert ran.code == 2 and reason in ran.err and "Traceback" not in ran.err
