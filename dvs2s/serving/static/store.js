// The conversation and the settings, kept in this browser only.

const CHAT = "dvs2s.chat", SETTINGS = "dvs2s.settings", KEY = "dvs2s.key", WITH_LENS = 60;

function read(name, fallback) {
  try { return JSON.parse(localStorage.getItem(name)) ?? fallback; } catch { return fallback; }
}

function write(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); return true; } catch { return false; }
}

export function loadChat() {
  const chat = read(CHAT, null);
  return chat && Array.isArray(chat.turns) ? chat : { turns: [], functions: [] };
}

// Whether a storage event tells of the conversation.
export const isChat = (event) => event.key === CHAT;

// Lenses of long past replies are let go first: they are most of the weight.
export function saveChat(chat) {
  for (let keep = WITH_LENS; keep >= 0; keep = keep ? Math.floor(keep / 2) : -1) {
    const from = chat.turns.length - keep;
    const turns = chat.turns.map((turn, i) => (i < from ? { ...turn, lens: null } : turn));
    if (write(CHAT, { ...chat, turns })) return true;
  }
  return false;
}

// A key lives as long as the tab.
export const loadSettings = () => ({ theme: "auto", ...read(SETTINGS, {}), key: sessionStorage.getItem(KEY) ?? undefined });
export function saveSettings({ key, ...settings }) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  return write(SETTINGS, settings);
}
