"""The web page: plain HTML and script, nothing fetched from elsewhere."""

import html

from dvs2s.annotation.criteria import CRITERIA


def page() -> str:
    """Returns the page with the criteria written out."""
    rows = "".join(
        f"<li><b>{'+' if label else ''}{label}</b> {html.escape(text)}</li>"
        for label, text in CRITERIA.items()
    )
    buttons = "".join(
        f'<button class="label" data-label="{label}">{"+" if label else ""}{label}</button>'
        for label in sorted(CRITERIA)
    )
    return _PAGE.replace("@CRITERIA@", rows).replace("@BUTTONS@", buttons)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Judge replies</title>
<style>
:root { color-scheme: light dark; }
body { font: 17px/1.5 sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
.said { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 4px solid #888;
  padding: .3rem .8rem; margin: .2rem 0 1rem; }
.reply { border-color: #28d; font-weight: 600; }
.what { color: GrayText; font-size: .9rem; margin: 0; }
button { font-size: 1.2rem; padding: .5rem 1.4rem; margin: 0 .6rem .6rem 0; }
button.chosen { outline: 3px solid #28d; }
ul { list-style: none; padding: 0; font-size: .95rem; }
progress { width: 100%; }
#error { color: #d33; font-weight: 600; }
#leave { font-size: .9rem; padding: .2rem .6rem; }
[hidden] { display: none; }
</style>
<h1>Judge replies</h1>
<ul>@CRITERIA@</ul>
<form id="start"><label>Your name <input id="name" required maxlength="40" autofocus></label>
<button>Start</button></form>
<main id="work" hidden>
<p id="progress" role="status"></p><progress id="bar"></progress>
<div id="item"><p class="what">Message</p><div class="said" id="message" dir="auto"></div>
<p class="what">Reply</p><div class="said reply" id="reply" dir="auto"></div></div>
<p>@BUTTONS@<button id="back">Back</button></p>
<p class="what">Keys: 0, 1, 2, Backspace. Judging as <b id="who" dir="auto"></b>.
<button id="leave">Somebody else</button></p>
</main>
<p id="error" role="alert"></p>
<script>
"use strict";
const $ = id => document.getElementById(id);
const kept = window.sessionStorage;  // this tab's: a reload goes on, another tab may be another's
let name, items = [], given = {}, at = 0, busy = false;
async function ask(path, body) {
  const answer = await fetch(path, {method: "POST", body: JSON.stringify(body),
    headers: {"Content-Type": "application/json"}});
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}
function show() {
  const done = Object.keys(given).length, over = at >= items.length;
  $("progress").textContent = over ? `Done: ${done} of ${items.length}. Thank you!`
    : `${done} of ${items.length} judged`;
  $("bar").max = items.length; $("bar").value = done;
  $("item").hidden = over;
  $("message").textContent = over ? "" : items[at].message;
  $("reply").textContent = over ? "" : items[at].reply;
  const chosen = over ? "" : String(given[items[at].id]);
  for (const button of document.querySelectorAll("button.label")) {
    button.disabled = over;
    button.classList.toggle("chosen", chosen === button.dataset.label);
    button.setAttribute("aria-pressed", chosen === button.dataset.label);
  }
  $("back").disabled = at === 0;
  kept.setItem("item", over ? "" : items[at].id);
}
async function judge(label) {
  if (busy || at >= items.length) return;
  busy = true;
  try {
    await ask("/label", {annotator: name, item: items[at].id, label});
    given[items[at].id] = label; at++; $("error").textContent = "";
  } catch (error) { $("error").textContent = `Not saved, judge it again: ${error.message}`; }
  busy = false; show();
}
async function start(who, item) {
  try {
    const content = await ask("/items", {annotator: who});
    name = who; items = content.items; given = content.labels;
    at = items.findIndex(one => one.id === item);
    if (at < 0) at = items.findIndex(one => !(one.id in given));
    if (at < 0) at = items.length;
    kept.setItem("annotator", who); $("who").textContent = who;
    $("start").hidden = true; $("work").hidden = false; $("error").textContent = "";
    show();
  } catch (error) { $("error").textContent = error.message; }
}
function back() { if (at > 0 && !busy) { at--; show(); } }
$("start").addEventListener("submit", event => {
  event.preventDefault(); start($("name").value.trim(), "");
});
for (const button of document.querySelectorAll("button.label"))
  button.addEventListener("click", event => {
    if (event.detail) button.blur();  // or the next Enter would judge the next reply, unread
    judge(Number(button.dataset.label));
  });
$("back").addEventListener("click", back);
$("leave").addEventListener("click", () => { kept.clear(); location.reload(); });
document.addEventListener("keydown", event => {
  if ($("work").hidden || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (["0", "1", "2"].includes(event.key)) judge(Number(event.key));
  if (event.key === "Backspace") { event.preventDefault(); back(); }
});
if (kept.getItem("annotator")) start(kept.getItem("annotator"), kept.getItem("item"));
</script>
</html>
"""
