"""The page in a real browser: mouse, keys, a reload, a server that dies, HTML that stays text."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dvs2s.annotation.sheet import make_sheet, save_sheet
from dvs2s.annotation.store import LabelStore

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")

HTML = "<img src=x onerror=\"document.title='x'\"><script>document.title='x'</script> &amp; <b>"
SAID = {
    "S2SA": [(f"how are you ? <sep> message {i}", "i do not know .") for i in range(5)],
    "DVS2S": [(f"how are you ? <sep> message {i}", f"{HTML} {i}") for i in range(5)],
}


class Server:
    """``cli.annotate mode=serve`` in a process of its own, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.address = folder, "0", ""
        self.start()

    def start(self) -> None:
        """Starts it, at the former port where there was one."""
        command = [sys.executable, "-m", "dvs2s.cli.annotate", "mode=serve"]
        self.process = subprocess.Popen(
            [*command, f"folder={self.folder}", f"port={self.port}"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout
        self.address = re.findall(r"http://\S+", self.process.stdout.readline())[0]
        self.port = self.address.rpartition(":")[2]

    def kill(self) -> None:
        """Kills it as a crash does."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    save_sheet(tmp_path / "people", make_sheet(SAID, number=5, seed=1))
    made = Server(tmp_path / "people")
    yield made
    made.kill()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 900, "height": 800})
    context.set_default_timeout(30_000)
    made = context.new_page()
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.goto(server.address)
    yield made
    context.close()
    assert not errors


def begin(page: Page, name: str = "Ann") -> None:
    page.fill("#name", name)
    page.press("#name", "Enter")
    expect(page.locator("#work")).to_be_visible()


def judged(page: Page, number: int) -> None:
    expect(page.locator("#progress")).to_contain_text(f"{number} of 10")


def labels(server: Server) -> dict[str, int]:
    items = frozenset(f"{i:05d}" for i in range(1, 11))
    return LabelStore(server.folder, items).of("Ann")


def test_mouse_and_keys_label_and_a_reload_keeps_the_place(page: Page, server: Server) -> None:
    begin(page)
    judged(page, 0)
    expect(page.locator("#back")).to_be_disabled()
    page.get_by_role("button", name="+2", exact=True).click()
    judged(page, 1)
    page.keyboard.press("1")
    judged(page, 2)
    page.keyboard.press("0")
    judged(page, 3)
    for key in ("3", "a", "Enter", "Control+1"):
        page.keyboard.press(key)
    judged(page, 3)
    assert sorted(labels(server).values()) == [0, 1, 2]
    fourth = page.locator("#item").inner_text()

    page.reload()
    judged(page, 3)
    assert page.locator("#item").inner_text() == fourth

    page.keyboard.press("Backspace")
    expect(page.locator("button.chosen")).to_have_text("0")
    third = page.locator("#item").inner_text()
    page.reload()  # one that was judged already stays where it was
    expect(page.locator("button.chosen")).to_have_text("0")
    assert page.locator("#item").inner_text() == third
    page.keyboard.press("2")
    judged(page, 3)
    expect(page.locator("#item")).to_contain_text(fourth.splitlines()[-1])
    assert sorted(labels(server).values()) == [1, 2, 2]

    page.click("#leave")
    begin(page, "Bob")  # in an order of their own, and with nothing judged
    judged(page, 0)
    page.click("#leave")
    begin(page)
    judged(page, 3)
    assert page.locator("#item").inner_text() == fourth


def test_a_server_that_dies_loses_nothing_and_the_page_says_so(page: Page, server: Server) -> None:
    begin(page)
    for done, key in enumerate("2102", 1):
        page.keyboard.press(key)
        judged(page, done)
    shown = page.locator("#item").inner_text()
    server.kill()
    page.keyboard.press("2")
    expect(page.locator("#error")).to_contain_text("Not saved, judge it again")
    judged(page, 4)
    assert page.locator("#item").inner_text() == shown and len(labels(server)) == 4
    server.start()
    page.keyboard.press("1")
    judged(page, 5)
    expect(page.locator("#error")).to_be_empty()
    assert sorted(labels(server).values()) == [0, 1, 1, 2, 2]
    for done in range(6, 11):
        page.keyboard.press("1")
        judged(page, done)
    expect(page.locator("#progress")).to_have_text("Done: 10 of 10. Thank you!")
    expect(page.locator("#item")).to_be_hidden()
    page.keyboard.press("0")  # nothing is left to judge
    assert len(labels(server)) == 10 and sum(v == 1 for v in labels(server).values()) == 7


def test_html_in_a_reply_stays_text(page: Page, tmp_path: Path) -> None:
    begin(page)
    seen = set()
    for done in range(10):
        judged(page, done)
        assert page.locator("#item img, #item script, #item b").count() == 0
        seen.add(page.locator("#reply").inner_text())
        assert page.locator("#message").inner_text().splitlines()[0] == "how are you ?"
        page.keyboard.press("0")
    assert seen == {"i do not know .", *(f"{HTML} {i}" for i in range(5))}
    assert page.title() == "Judge replies"


def test_a_bad_name_is_explained(page: Page) -> None:
    page.fill("#name", "<script>")
    page.press("#name", "Enter")
    expect(page.locator("#error")).to_contain_text("annotator must be a name of letters")
    expect(page.locator("#work")).to_be_hidden()
