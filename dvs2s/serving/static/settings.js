// The drawer, and what it says as a request.
import { loadSettings, saveSettings } from "./store.js";

const dialog = document.getElementById("settings");
const NOTES = {
  beam: "Keeps several replies in mind and says the best. It is known when all its words are.",
  greedy: "The likeliest word each time; words appear as they are made.",
  sampling: "Words drawn by chance; they appear as they are made.",
};

export const settings = loadSettings();
let model = null, other = null;

export const kind = () => settings.kind || model?.dvs2s.search.kind || "beam";

export const choosesWords = () => Boolean(model?.dvs2s.chooses_words);

// Returns the search of a request, and only what differs from the server's.
export function search() {
  const asked = {};
  if (settings.kind) asked.kind = settings.kind;
  if (kind() === "beam" && settings.beam) asked.beam = settings.beam;
  if (kind() === "sampling") {
    if (settings.temperature) asked.temperature = settings.temperature;
    if (settings.top_p) asked.top_p = settings.top_p;
  }
  asked.num_best = kind() === "greedy" ? 1 : settings.num_best || 1;
  if (asked.beam && asked.beam < asked.num_best) asked.beam = asked.num_best;
  if (settings.size && model?.dvs2s.chooses_words) Object.assign(asked, { vocabulary: "size", size: settings.size });
  return asked;
}

// Returns the request for the same message over the full vocabulary.
export function fullSearch() {
  const asked = search();
  delete asked.size;
  return { model: other?.id, search: { ...asked, vocabulary: "full" } };
}

export function compareLabel() {
  const all = `all ${(other ?? model)?.dvs2s.words.toLocaleString("en") ?? ""} words`;
  if (other) return `${other.id}, trained on ${all}`;
  return model?.dvs2s.sane_outside_of_T ? `same model, ${all}` : `same model, ${all}: not trained for it`;
}

export function setUp(models, changed) {
  [model, other] = [models[0], models.find((m, i) => i && !m.dvs2s.chooses_words) ?? null];
  const base = model.dvs2s.search, size = dialog.querySelector("[name=size]");
  size.min = model.dvs2s.fixed_words;
  size.max = model.dvs2s.words;
  size.disabled = !model.dvs2s.chooses_words;
  const fallback = { beam: base.beam, temperature: base.temperature, top_p: base.top_p, num_best: 1, size: base.size };
  const note = document.getElementById("compare-note");
  note.textContent = other
    ? `The model “${other.id}” answers from all ${other.dvs2s.words.toLocaleString("en")} words.`
    : model.dvs2s.sane_outside_of_T
      ? "The same model answers from all its words."
      : "This model was never trained on words outside of T, so what it says with all of them is for curiosity. " +
        "Start the server with compare=RUN, a plain seq2seq checkpoint, for a fair comparison.";
  document.getElementById("about").textContent =
    `${model.dvs2s.source}: ${model.dvs2s.parameters.toLocaleString("en")} parameters, ${model.dvs2s.precision} on ` +
    `${model.dvs2s.device}, ${model.dvs2s.kernels}. It reads the last ${model.dvs2s.turns === 1 ? "message" : `${model.dvs2s.turns} messages`}; ` +
    "the whole conversation stays in this browser.";

  function show() {
    for (const input of dialog.querySelectorAll("input")) {
      const { name, type } = input;
      if (type === "radio") input.checked = input.value === (settings[name] ?? "");
      else if (type === "checkbox") input.checked = Boolean(settings[name]);
      else if (type === "range") input.value = settings[name] ?? fallback[name];
      else input.value = settings[name] ?? "";
      const output = input.closest("label")?.querySelector("output");
      if (output) output.textContent = Number(input.value).toLocaleString("en");
    }
    for (const row of dialog.querySelectorAll("[data-for]")) {
      row.hidden = row.dataset.for === "many" ? kind() === "greedy" : row.dataset.for !== kind();
    }
    document.getElementById("kind-note").textContent =
      (settings.kind ? "" : `The server's: ${kind()}. `) + (NOTES[kind()] ?? "");
    document.documentElement.dataset.theme = settings.theme;
  }
  dialog.addEventListener("input", ({ target }) => {
    const value = target.type === "checkbox" ? target.checked : target.type === "range" ? Number(target.value) : target.value;
    settings[target.name] = value;
    if (value === "") delete settings[target.name];
    saveSettings(settings);
    show();
    changed(target.name);
  });
  document.getElementById("reset").addEventListener("click", () => {
    for (const name of Object.keys(settings)) if (!["theme", "key"].includes(name)) delete settings[name];
    saveSettings(settings);
    show();
  });
  show();
}

export function wireDrawer() {
  document.getElementById("open-settings").addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}
