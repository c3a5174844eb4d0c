// The conversation.
import { models, stream } from "./api.js";
import { copy, save } from "./copy.js";
import { element, lens } from "./lens.js";
import { choosesWords, compareLabel, fullSearch, kind, search, settings, setUp, wireDrawer } from "./settings.js";
import { isChat, loadChat, saveChat, saveSettings } from "./store.js";

const SUGGESTIONS = ["do you like coffee?", "what should I cook tonight?", "can you play the guitar?", "I am tired today", "tell me about your dog"];
const LENS_WORDS = 400, MOST_TURNS = 64;
const [log, form, message, send, stop, status, scroller, welcome, spoken] =
  ["log", "form", "message", "send", "stop", "status", "scroll", "welcome", "spoken"].map((id) => document.getElementById(id));
const chat = loadChat();
const wide = matchMedia("(min-width: 901px)"); // the last lens is open where there is room
let running = null; // the AbortController of the reply at work
let connecting = null; // the promise of a server that is waited for

const WRITING = "writing …";
const say = (text) => { status.textContent = text; };
const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 120;
const toEnd = () => { scroller.scrollTop = scroller.scrollHeight; };

const number = (value) => value.toLocaleString("en");

function seconds(value) {
  return value < 0.0095 ? `${(1000 * value).toFixed(1)} ms` : value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(2)} s`;
}

// Returns time, speed and |T| of V of a reply; the stages are in its title. The time is the engine's own, as on
// the speed page: what the lens asks besides (which word brought each one in) is no part of answering.
function figures(side) {
  const box = element("span", "figures");
  if (!side?.seconds) return box;
  const { total, ...stages } = side.seconds, words = side.tokens.length;
  const work = stages.encode + stages.predict + stages.select + stages.search;
  box.textContent = `${seconds(work)} · ${words} word${words === 1 ? "" : "s"} · ${Math.round(words / Math.max(work, 1e-3))} words/s`;
  if (side.allowed && !side.label) box.textContent += ` · from ${number(side.allowed.size)} of ${number(side.allowed.total)}`;
  box.title = Object.entries({ ...stages, "in all, with queue and lens": total }).map(([stage, value]) => `${stage} ${seconds(value)}`).join(", ");
  return box;
}

function button(label, title, act) {
  const made = element("button", "quiet", label);
  made.type = "button";
  made.title = title;
  made.addEventListener("click", act);
  return made;
}

function card(side, tag) {
  const box = element("div", "card");
  if (tag) box.append(element("p", "tag", tag));
  const bubble = element("div", "bubble", side.text);
  bubble.dir = "auto";
  if (side.state === "failed") { bubble.classList.add("failed"); bubble.textContent = side.error; }
  if (side.state === "running") bubble.classList.add(side.text ? "streaming" : "waiting");
  box.append(bubble);
  if (side.state === "stopped") box.append(element("p", "tag", side.text ? "stopped" : "stopped before the first word"));
  return box;
}

// Says that a reply cannot be about what the model does not know.
function unheard({ words, unknown }) {
  if (unknown === words) return words === 1 ? "the model does not know this word" : "the model knows none of these words";
  return `the model does not know ${number(unknown)} of these ${number(words)} words`;
}

function others(side) {
  const box = element("details", "others"), list = element("ol");
  box.append(element("summary", "", `${side.others.length} more`), list);
  for (const reply of side.others) {
    const item = element("li", "", `${reply.text} `);
    item.append(element("small", "", reply.score.toFixed(2)));
    list.append(item);
  }
  return box;
}

function actions(turn, index) {
  const box = element("div", "acts");
  box.append(figures(turn));
  if (turn.state === "running") return box;
  if (turn.text) {
    box.append(button("Copy", "Copy the reply", async () => {
      say((await copy(turn.text)) ? "copied" : "this browser does not let the page copy: select the text");
    }));
  }
  if (index === chat.turns.length - 1) {
    box.append(turn.state === "done"
      ? button("Another", "Another reply to the same message, drawn by chance", () => answer(turn, { sampled: true }))
      : button("Try again", "Ask the same once more", () => answer(turn)));
  }
  return box;
}

// Draws one turn: what was said, the reply, its lens.
function draw(turn) {
  const index = chat.turns.indexOf(turn);
  if (index < 0) return; // of a conversation that was left while it was answered
  const box = element("article", "turn");
  box.setAttribute("aria-busy", String(turn.state === "running"));
  const said = element("p", "said", turn.said);
  said.dir = "auto";
  const reply = element("div", turn.full ? "answer two" : "answer");
  const main = card(turn, turn.full ? `T${turn.lens ? `, ${number(turn.lens.size)} words chosen` : ""}` : "");
  if (turn.state === "done" && turn.heard?.unknown) main.append(element("p", "tag", unheard(turn.heard)));
  main.append(actions(turn, index));
  if (turn.others?.length) main.append(others(turn));
  reply.append(main);
  if (turn.full) {
    const second = card(turn.full, turn.full.label);
    second.querySelector(".bubble").classList.add("plain");
    second.append(figures(turn.full));
    reply.append(second);
  }
  box.append(said, reply);
  if (turn.lens) {
    const used = new Set(turn.state === "running" ? turn.text.toLowerCase().match(/[\p{L}\p{N}]+|\S/gu) : turn.tokens);
    const made = lens(turn.lens, chat.functions, used, `Words allowed for the reply to: ${turn.said}`);
    const isOpen = () => turn.open ?? (wide.matches && index === chat.turns.length - 1);
    if (isOpen()) made.querySelector(".fold").click();
    made.querySelector(".fold").addEventListener("click", () => { turn.open = !isOpen(); });
    box.append(made);
  }
  const stick = atEnd();
  if (turn.box?.isConnected) turn.box.replaceWith(box);
  else log.append(box);
  box.style.animation = turn.box ? "none" : "";
  Object.defineProperty(turn, "box", { value: box, writable: true, configurable: true, enumerable: false });
  if (stick) toEnd();
}

function talking(is) {
  welcome.hidden = is;
  document.body.classList.toggle("talking", is);
}

function drawAll() {
  talking(chat.turns.length > 0);
  log.replaceChildren();
  for (const turn of chat.turns) { delete turn.box; draw(turn); }
  toEnd();
}

function history(turn) {
  const turns = [];
  for (const past of chat.turns) {
    if (past === turn) break;
    if (past.state === "done") turns.push(past.said, past.text);
  }
  return [...turns, turn.said].slice(-MOST_TURNS);
}

function take(side, done) {
  const [best, ...rest] = done.replies;
  Object.assign(side, {
    state: "done", text: best.text, tokens: best.tokens, seconds: done.seconds,
    allowed: { size: done.vocabulary.size, total: done.vocabulary.total },
    heard: done.heard,
    others: rest.map(({ text, score }) => ({ text, score })),
  });
}

async function run(side, body, signal, onWords, redraw) {
  Object.assign(side, { text: "", tokens: [], seconds: null, others: [], state: "running", error: undefined });
  redraw();
  try {
    await stream(body, settings.key, signal, {
      words: (data) => { onWords?.(data.vocabulary); redraw(); },
      text: (data) => { side.text += data.text; redraw(); },
      done: (data) => { onWords?.(data.vocabulary, data.sources); take(side, data); redraw(); },
    });
  } catch (error) {
    if (error.name === "AbortError") side.state = "stopped";
    else Object.assign(side, { state: "failed", error: error.status === undefined ? "the server cannot be reached" : error.message });
    if (side.state === "failed" && !error.status) reconnect();
    redraw();
  }
}

async function answer(turn, { sampled = false } = {}) {
  if (running) return;
  running = new AbortController();
  busy(true);
  const redraw = () => draw(turn);
  const asked = { message: history(turn), search: search(), lens: LENS_WORDS, sources: choosesWords() };
  if (sampled && kind() !== "sampling") {
    asked.search = { ...asked.search, kind: "sampling", temperature: settings.temperature || 0.8 };
    delete asked.search.beam;
  }
  const setLens = ({ function: functions, ...vocabulary }, sources) => {
    if (functions.length) chat.functions = functions;
    const by = new Map(sources?.map((source) => [source.word, source]));
    vocabulary.content = vocabulary.content.map((word) => ({ ...by.get(word.word), ...word }));
    turn.lens = vocabulary;
  };
  const { signal } = running;
  if (settings.compare) turn.full = { label: compareLabel(), text: "", state: "running" };
  else delete turn.full;
  await run(turn, asked, signal, setLens, redraw);
  if (turn.full) { // afterwards, so that neither takes the other's time
    const full = { ...asked, ...fullSearch(), lens: 0, sources: false };
    if (!full.model) delete full.model;
    if (asked.search.kind === "sampling") full.search = { ...full.search, ...asked.search, vocabulary: "full" };
    delete full.search.size;
    if (signal.aborted) turn.full.state = "stopped";
    else await run(turn.full, full, signal, null, redraw);
  }
  running = null;
  busy(false);
  draw(turn);
  spoken.textContent = turn.error ?? `Reply: ${turn.text || "none"}`;
  if (!saveChat(chat)) say("this browser has no room to keep the conversation");
  message.focus();
}

function busy(is) {
  stop.hidden = !is;
  send.hidden = is;
  if (is) say(WRITING);
  else if (status.textContent === WRITING) say("");
}

function submit(text) {
  if (!text.trim() || running) return;
  const turn = { said: text.trim() };
  talking(true);
  const last = chat.turns.at(-1);
  chat.turns.push(turn);
  if (last) draw(last); // its lens folds, and it can be asked again no more
  message.value = "";
  fit();
  draw(turn);
  toEnd();
  answer(turn);
}

function fit() {
  message.style.height = "auto";
  message.style.height = `${message.scrollHeight}px`;
  send.disabled = !message.value.trim();
}

function begin(turns) {
  chat.turns = turns;
  saveChat(chat);
  drawAll();
  message.focus();
}

// Watches for a server that was lost until it is back; the chip in the bar tells.
function reconnect() {
  connecting ??= connect().finally(() => { connecting = null; });
}

async function connect() {
  const chip = document.getElementById("model");
  for (let pause = 500; ; pause = Math.min(2 * pause, 5000)) {
    try {
      const found = await models(settings.key);
      chip.dataset.state = "ready";
      chip.textContent = `${found[0].id} · ${found[0].dvs2s.words.toLocaleString("en")} words`;
      document.querySelector("[data-words]").textContent = found[0].dvs2s.words.toLocaleString("en");
      return found;
    } catch (error) {
      chip.dataset.state = "down";
      chip.textContent = error.status === 401 ? "this server asks for a key: see Settings" : error.status === 503 ? "the model is loading …" : "no connection";
      await new Promise((done) => setTimeout(done, pause));
    }
  }
}

form.addEventListener("submit", (event) => { event.preventDefault(); submit(message.value); });
message.addEventListener("input", fit);
message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(message.value); }
});
window.addEventListener("storage", (event) => { // another tab has gone on: so does this one, from there
  if (isChat(event) && !running) { Object.assign(chat, loadChat()); drawAll(); }
});
stop.addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort(); });
document.getElementById("new").addEventListener("click", () => {
  running?.abort();
  const former = chat.turns;
  begin([]);
  if (!former.length) return;
  say("a new conversation; the former is gone. ");
  const back = button("Bring it back", "Go on with the former conversation", () => { begin(former); say(""); });
  back.className = "link";
  status.append(back);
});
document.getElementById("export").addEventListener("click", () => {
  const turns = chat.turns.map(({ said, text, lens: words, tokens, seconds: times, full }) => ({ said, reply: text, tokens, seconds: times, vocabulary: words, full }));
  save("conversation.json", "application/json", JSON.stringify({ turns, function_words: chat.functions }, null, 1));
  say("saved as conversation.json");
});
document.getElementById("suggestions").append(...SUGGESTIONS.map((text) => {
  const item = element("li"), made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", () => submit(text));
  item.append(made);
  return item;
}));

for (const turn of chat.turns) if (turn.state === "running" || !turn.state) Object.assign(turn, { state: "stopped", text: turn.text ?? "" });
drawAll();
fit();
wireDrawer();
settingsWithKey();
setUp(await connect(), () => {});
message.focus();

// The key can be typed before the server has said anything.
function settingsWithKey() {
  const field = document.querySelector("[name=key]");
  field.value = settings.key ?? "";
  field.form.addEventListener("submit", (event) => event.preventDefault());
  field.addEventListener("input", () => { settings.key = field.value; saveSettings(settings); });
}
