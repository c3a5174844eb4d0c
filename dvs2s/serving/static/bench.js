// Live words a second: dynamic against full, the same messages in turn.
import { models, reply } from "./api.js";
import { loadSettings } from "./store.js";

const MESSAGES = ["do you like coffee ?", "what should I cook tonight ?", "can you play the guitar ?", "I am tired today", "how was your weekend ?",
  "do you have a dog ?", "what is your favorite book ?", "it is raining again", "shall we go for a walk ?", "I lost my keys"];
const LONGEST = 60000, key = loadSettings().key;
const byId = (id) => document.getElementById(id);
const controls = byId("controls"), start = byId("start"), NS = "http://www.w3.org/2000/svg";
let model, other, stopping = null;

const median = (values) => { const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1; return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2; };

function body(side, message, form) {
  const search = { kind: form.kind, num_best: 1 };
  if (form.kind === "beam") search.beam = Number(form.beam);
  if (side === "full") return { message, lens: 0, search: { ...search, vocabulary: "full" }, ...(other ? { model: other.id } : {}) };
  return { message, lens: 0, search: { ...search, vocabulary: "size", size: Number(form.size) } };
}

// One round of one side: all its messages, so many at once; returns words a second: of the engine's own
// time where one is answered after the other, else of the time in which all were answered.
async function round(side, form, signal, told) {
  const waiting = [...MESSAGES], answers = [], began = performance.now();
  await Promise.all(Array.from({ length: Number(form.clients) }, async () => {
    while (waiting.length) {
      answers.push(await reply(body(side, waiting.pop(), form), key, signal));
      byId("state").textContent = `${told}, ${side}: ${answers.length} of ${MESSAGES.length} replies`;
    }
  }));
  const engine = ({ encode, predict, select, search }) => encode + predict + select + search;
  const words = answers.reduce((sum, a) => sum + a.replies[0].tokens.length, 0);
  const seconds = form.clients === "1" ? answers.reduce((sum, a) => sum + engine(a.seconds), 0) : (performance.now() - began) / 1000;
  return words / Math.max(seconds, 1e-6);
}

function node(name, attributes, text = "") {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function plot(rates) {
  const chart = byId("chart"), [left, right, top, bottom] = [64, 880, 20, 270];
  const most = Math.max(1, ...rates.dynamic, ...rates.full) * 1.15, count = Math.max(2, rates.dynamic.length);
  const x = (i) => left + ((right - left) * i) / (count - 1), y = (value) => bottom - ((bottom - top) * value) / most;
  const label = (value) => (rates.dynamic.length ? Math.round(value).toLocaleString("en") : "");
  const parts = [0, 1, 2, 3, 4].map((i) => (most * i) / 4).flatMap((value) => [
    node("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    node("text", { x: left - 10, y: y(value) + 4, "text-anchor": "end" }, label(value)),
  ]);
  for (const side of ["dynamic", "full"]) {
    rates[side].forEach((value, i) => parts.push(node("circle", { class: side, cx: x(i), cy: y(value), r: 2.5 })));
    parts.push(node("polyline", { class: side, points: rates[side].map((value, i) => `${x(i)},${y(value)}`).join(" ") }));
  }
  chart.replaceChildren(...parts);
}

function show(rates) {
  for (const side of ["dynamic", "full"]) if (rates[side].length) byId(side).textContent = Math.round(median(rates[side])).toLocaleString("en");
  if (rates.full.length) byId("ratio").textContent = `${(median(rates.dynamic) / median(rates.full)).toFixed(1)} ×`;
  byId("count").textContent = `medians of ${rates.full.length} rounds of ${MESSAGES.length} replies`;
  byId("chart").setAttribute("aria-label", `Words a second over ${rates.full.length} rounds: ${byId("dynamic").textContent} dynamic, ${byId("full").textContent} full`);
  plot(rates);
}

async function run() {
  const form = Object.fromEntries(new FormData(controls)), rates = { dynamic: [], full: [] };
  stopping = new AbortController();
  start.textContent = "Stop";
  document.querySelector("[data-size]").textContent = `${Number(form.size).toLocaleString("en")} words`;
  const end = performance.now() + LONGEST;
  try {
    for (const side of ["dynamic", "full"]) await round(side, form, stopping.signal, "warming up"); // not counted
    while (performance.now() < end) {
      for (const side of ["dynamic", "full"]) rates[side].push(await round(side, form, stopping.signal, `round ${rates.full.length + 1}`));
      show(rates);
    }
    byId("state").textContent = "done";
  } catch (error) {
    byId("state").textContent = error.name === "AbortError" ? "stopped" : error.message;
  }
  start.textContent = "Start";
  stopping = null;
}

controls.addEventListener("submit", (event) => {
  event.preventDefault();
  if (stopping) stopping.abort();
  else run();
});
plot({ dynamic: [], full: [] });
try {
  const found = await models(key);
  model = found[0];
  other = found.find((m, i) => i && !m.dvs2s.chooses_words);
  const { fixed_words: fixed, words, search, chooses_words: chooses } = model.dvs2s;
  const sizes = [...new Set([search.size, ...[300, 500, 1000, 2000, 5000].filter((n) => n >= fixed && n < words)])].sort((a, b) => a - b);
  controls.elements.size.append(...sizes.map((n) => new Option(n, n, n === search.size, n === search.size)));
  document.querySelector("[data-total]").textContent = `${words.toLocaleString("en")} words`;
  document.querySelector("[data-full]").textContent = other ? ` (${other.id})` : " (same model; speed only)";
  byId("model").textContent = `${model.id} · ${words.toLocaleString("en")} words`;
  byId("model").dataset.state = "ready";
  if (!chooses) { start.disabled = true; byId("state").textContent = "This model does not choose words: nothing to compare."; }
} catch (error) {
  byId("model").textContent = error.message;
  byId("model").dataset.state = "down";
}
