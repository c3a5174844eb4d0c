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
body { font: 17px/1.5 sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
.said { white-space: pre-wrap; border-left: 4px solid #888; padding: .3rem .8rem; margin: .6rem 0; }
.reply { border-color: #06c; font-weight: 600; }
button { font-size: 1.2rem; padding: .5rem 1.4rem; margin-right: .6rem; }
button.chosen { outline: 3px solid #06c; }
ul { list-style: none; padding: 0; font-size: .95rem; }
#error { color: #b00; }
[hidden] { display: none; }
</style>
<h1>Judge replies</h1>
<ul>@CRITERIA@</ul>
<form id="start"><label>Your name <input id="name" required maxlength="40" autofocus></label>
<button>Start</button></form>
<main id="work" hidden>
<p id="progress" role="status"></p>
<p>Message</p><div class="said" id="message"></div>
<p>Reply</p><div class="said reply" id="reply"></div>
<p>@BUTTONS@<button id="back">Back</button></p>
<p>Keys: 0, 1, 2, Backspace.</p>
</main>
<p id="error" role="alert"></p>
<script>
"use strict";
const $ = id => document.getElementById(id);
let name, items = [], given = {}, at = 0, busy = false;
async function ask(path, body) {
  const answer = await fetch(path, {method: "POST", body: JSON.stringify(body),
    headers: {"Content-Type": "application/json"}});
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}
function show() {
  const done = Object.keys(given).length;
  const over = at >= items.length;
  $("progress").textContent = over ? `Done: ${done} of ${items.length}. Thank you!`
    : `${done} of ${items.length} judged`;
  $("message").textContent = over ? "" : items[at].message;
  $("reply").textContent = over ? "" : items[at].reply;
  const chosen = over ? "" : String(given[items[at].id]);
  for (const button of document.querySelectorAll("button.label"))
    button.classList.toggle("chosen", chosen === button.dataset.label);
}
async function judge(label) {
  if (busy || at >= items.length) return;
  busy = true;
  try {
    await ask("/label", {annotator: name, item: items[at].id, label});
    given[items[at].id] = label; at++; $("error").textContent = "";
  } catch (error) { $("error").textContent = `Not saved: ${error.message}`; }
  busy = false; show();
}
$("start").addEventListener("submit", async event => {
  event.preventDefault();
  name = $("name").value.trim();
  try {
    const content = await ask("/items", {annotator: name});
    items = content.items; given = content.labels;
    at = items.findIndex(item => !(item.id in given));
    if (at < 0) at = items.length;
    $("start").hidden = true; $("work").hidden = false; $("error").textContent = "";
    show();
  } catch (error) { $("error").textContent = error.message; }
});
for (const button of document.querySelectorAll("button.label"))
  button.addEventListener("click", () => judge(Number(button.dataset.label)));
$("back").addEventListener("click", () => { if (at > 0) at--; show(); });
document.addEventListener("keydown", event => {
  if ($("work").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  if ("012".includes(event.key)) judge(Number(event.key));
  if (event.key === "Backspace") { event.preventDefault(); if (at > 0) at--; show(); }
});
</script>
</html>
"""
