"""The page in a real browser: a conversation streams, stops, survives a reload, stays text."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from serving_fakes import FakeEngine, Serve

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, serve: Serve, engine: FakeEngine) -> Iterator[Page]:
    address = serve()
    context = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=address)
    context.set_default_timeout(30_000)
    made = context.new_page()
    errors: list[str] = []
    outside: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.on("console", lambda m: errors.append(m.text) if is_ours(m) else None)
    made.on("request", lambda r: outside.append(r.url) if not r.url.startswith(address) else None)
    made.on("dialog", lambda dialog: (errors.append("a dialog opened"), dialog.dismiss()))
    made.goto("/")
    expect(made.locator("#model")).to_contain_text("echo")
    yield made
    context.close()
    assert not errors
    assert not [url for url in outside if not url.startswith("blob:")]


def is_ours(message: ConsoleMessage) -> bool:
    """Whether it tells of an error of the page, not of a refusal by the server."""
    return message.type == "error" and "Failed to load resource" not in message.text


def say(page: Page, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")


def bubbles(page: Page) -> list[str]:
    return page.locator(".bubble").all_inner_texts()


def test_three_turns_stream_the_lens_shows_and_a_reload_keeps_them(
    page: Page, engine: FakeEngine
) -> None:
    for text in ("one", "two words", "three more words here"):
        engine.hold_at = 2  # what came before shows while the rest is still to come
        say(page, text)
        expect(page.locator(".bubble").last).to_have_text("you said")
        expect(page.locator("#stop")).to_be_visible()
        engine.hold_at = None
        expect(page.locator(".bubble").last).to_have_text(f"you said {text}")
        expect(page.locator("#send")).to_be_visible()
        expect(page.locator("#spoken")).to_have_text(f"Reply: you said {text}")
    assert bubbles(page) == ["you said one", "you said two words", "you said three more words here"]
    # the sum of the four stages, not the 14 ms that it took with the lens
    expect(page.locator(".figures").last).to_contain_text("13 ms")
    expect(page.locator(".figures").last).to_contain_text("words/s · from 8 of 60")
    assert engine.jobs[-1].turns == ("two words", "you said two words", "three more words here")

    lens = page.locator(".lens").last
    expect(lens).to_contain_text("8 of 60 words")
    used = lens.locator(".cloud li.used").all_inner_texts()
    assert used == ["three", "more", "words", "here"]
    sizes = lens.locator(".cloud li").evaluate_all("e => e.map(x => parseFloat(x.style.fontSize))")
    assert len(sizes) == 6 and sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]
    assert lens.locator(".functions li.used").all_inner_texts() == ["you", "said"]

    before = page.locator("#log").inner_text()
    page.reload()
    expect(page.locator(".bubble")).to_have_count(3)
    assert page.locator("#log").inner_text() == before

    with page.expect_download() as download:
        page.click("#export")
    saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [turn["reply"] for turn in saved["turns"]] == bubbles(page)
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    page.reload()
    expect(page.locator(".bubble")).to_have_count(0)


def test_stop_keeps_what_was_said_and_frees_the_engine(page: Page, engine: FakeEngine) -> None:
    engine.hold_at = 4
    say(page, "a b c d e f g h i j k l m n o p q r s t u v w x y z")
    expect(page.locator(".bubble")).to_contain_text("you said a")
    page.click("#stop")
    expect(page.locator("#send")).to_be_visible()
    engine.wait_until_free()
    assert bubbles(page)[0].startswith("you said a") and "z" not in bubbles(page)[0]
    expect(page.locator(".answer")).to_contain_text("stopped")
    engine.hold_at = 0
    say(page, "again")
    page.keyboard.press("Escape")
    expect(page.locator("#send")).to_be_visible()
    engine.wait_until_free()
    engine.hold_at = None
    say(page, "more")
    expect(page.locator(".bubble").last).to_have_text("you said more")
    page.get_by_role("button", name="Another").click()
    expect(page.locator("#send")).to_be_visible()
    assert engine.jobs[-1].search["kind"] == "sampling"


def test_a_conversation_that_was_left_can_be_brought_back(page: Page, engine: FakeEngine) -> None:
    say(page, "one")
    expect(page.locator(".bubble")).to_have_text("you said one")
    engine.hold_at = 3
    say(page, "two three four")
    expect(page.locator(".bubble").last).to_contain_text("you said two")
    page.click("#new")
    expect(page.locator("#send")).to_be_visible()
    engine.hold_at = None
    engine.wait_until_free()
    expect(page.locator("#welcome")).to_be_visible()
    assert bubbles(page) == [], "a reply came into a conversation that it is no part of"
    page.get_by_role("button", name="Bring it back").click()
    expect(page.locator(".bubble")).to_have_count(2)
    expect(page.locator(".answer").last).to_contain_text("stopped")

    page.click("#new")
    say(page, "five")
    expect(page.locator(".bubble")).to_have_text("you said five")
    expect(page.get_by_role("button", name="Bring it back")).to_have_count(0)
    page.reload()
    expect(page.locator(".bubble")).to_have_count(1)


def test_a_message_that_the_model_does_not_know_is_told(page: Page) -> None:
    for text, told in (
        ("zorgblat", "the model does not know this word"),
        ("zorgblat zorgblat", "the model knows none of these words"),
        ("a zorgblat for zorgblat", "the model does not know 2 of these 4 words"),
    ):
        say(page, text)
        expect(page.locator(".bubble").last).to_have_text(f"you said {text}")
        expect(page.locator(".turn").last.locator(".tag")).to_have_text(told)
    say(page, "hello")
    expect(page.locator(".bubble").last).to_have_text("you said hello")
    expect(page.locator(".turn").last.locator(".tag")).to_have_count(0)


def test_whatever_is_said_stays_text(page: Page) -> None:
    for text in (
        "<script>document.title='x'</script><img src=x onerror=alert(1)>",
        "مرحبا بالعالم",
        "\u202eabc 👨‍👩‍👧 &amp; <b>bold</b>",
    ):
        say(page, text)
        expect(page.locator(".said").last).to_have_text(text)
        expect(page.locator(".bubble").last).to_have_text(re.compile(re.escape(text.split()[0])))
    assert page.title() == "dvs2s"
    assert page.locator("#log script, #log img, #log b:not(.lens b)").count() == 0
    right_to_left = page.locator(".said").nth(1)
    assert right_to_left.evaluate("e => getComputedStyle(e).direction") == "rtl"


def test_settings_reach_the_engine_and_both_vocabularies_answer(
    page: Page, engine: FakeEngine
) -> None:
    page.click("#open-settings")
    page.locator("[name=kind][value=sampling]").check()
    page.locator("[name=temperature]").fill("1.5")
    page.locator("[name=size]").fill("30")
    page.locator("[name=compare]").check()
    page.locator("[name=theme][value=dark]").check()
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    say(page, "hello")
    expect(page.locator(".bubble")).to_have_count(2)
    expect(page.locator("#send")).to_be_visible()
    asked = {job.model: job.search for job in engine.jobs}
    assert asked["echo"]["kind"] == asked["plain"]["kind"] == "sampling"
    assert (asked["echo"]["temperature"], asked["echo"]["size"]) == (1.5, 30)
    assert asked["plain"]["vocabulary"] == "full"
    assert len(page.locator(".figures").all_inner_texts()) == 2
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    expect(page.locator(".answer.two")).to_be_visible()


def test_refusals_are_told_and_the_keyboard_is_enough(page: Page, engine: FakeEngine) -> None:
    engine.capacity = 0
    page.keyboard.press("Tab")
    page.locator("#message").focus()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect(page.locator(".bubble.failed")).to_contain_text("too many requests")
    expect(page.locator(".said")).to_have_text("one\ntwo")
    unnamed = page.locator("button, a, input, textarea").evaluate_all(
        "all => all.filter(e => e.checkVisibility() && !(e.ariaLabel || e.innerText.trim() || "
        "e.title || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert not unnamed
    engine.capacity = 10


def test_a_lost_server_is_told_waited_for_and_asked_again(page: Page, engine: FakeEngine) -> None:
    say(page, "first")
    expect(page.locator(".bubble").last).to_have_text("you said first")
    page.context.set_offline(True)
    say(page, "second")
    expect(page.locator(".bubble.failed")).to_have_text("the server cannot be reached")
    expect(page.locator("#model")).to_have_text("no connection")
    assert page.locator(".turn").last.get_by_role("button", name="Copy").count() == 0
    page.context.set_offline(False)
    expect(page.locator("#model")).to_contain_text("echo")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".bubble").last).to_have_text("you said second")
    assert engine.jobs[-1].search["kind"] == "greedy", "the same, not another"


def test_a_second_tab_goes_on_where_the_first_is(page: Page) -> None:
    other = page.context.new_page()
    other.goto("/")
    expect(other.locator("#model")).to_contain_text("echo")
    say(page, "from the first")
    expect(other.locator(".bubble")).to_have_text("you said from the first")
    say(other, "from the second")
    expect(page.locator(".said")).to_have_text(["from the first", "from the second"])
    page.reload()
    expect(page.locator(".said")).to_have_text(["from the first", "from the second"])


def test_a_key_typed_before_the_server_lets_in_is_kept(browser: Browser, serve: Serve) -> None:
    with browser.new_context(base_url=serve(key="s3cret")) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.locator("#model")).to_contain_text("asks for a key")
        page.click("#open-settings")
        page.fill("[name=key]", "s3cret")
        expect(page.locator("#model")).to_contain_text("echo")
        page.goto("/bench")
        expect(page.locator("#model")).to_contain_text("echo")


def test_a_reply_is_copied_where_the_page_is_not_secure(page: Page) -> None:
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    say(page, "to be kept")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#status")).to_have_text("copied")
    page.locator("#message").focus()
    page.keyboard.press("Control+V")
    expect(page.locator("#message")).to_have_value("you said to be kept")


@pytest.mark.parametrize("width", [360, 390, 768])
def test_a_narrow_page_does_not_scroll_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    say(page, "x" * 200 + " and some more words to say")
    expect(page.locator(".lens")).to_be_visible()
    for path in ("/", "/bench", "/docs"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, path
    page.goto("/")
    for selector in ("#send", ".bubble", ".lens", "#open-settings"):
        box = page.locator(selector).first.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width, selector


def test_the_speed_page_measures_and_the_api_page_tries(page: Page, engine: FakeEngine) -> None:
    page.goto("/bench")
    page.click("#start")
    expect(page.locator("#count")).to_contain_text("rounds of 10 replies")
    page.click("#start")
    expect(page.locator("#state")).to_have_text("stopped")
    assert int(page.locator("#dynamic").inner_text().replace(",", "")) > 0
    page.goto("/docs")
    page.locator("summary", has=page.get_by_text("/v1/reply", exact=True)).click()
    page.locator(".op[open]").get_by_role("button", name="Try it").click()
    expect(page.locator(".op[open] pre").last).to_contain_text("you said do you like coffee ?")
