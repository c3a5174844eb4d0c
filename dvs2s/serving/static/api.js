// Talks to the server; nothing here knows the page.

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

function headers(key) {
  const all = { "Content-Type": "application/json" };
  if (key) all.Authorization = `Bearer ${key}`;
  return all;
}

async function refusal(response) {
  let message = `the server said ${response.status}`;
  try { message = (await response.json()).error.message; } catch { /* no JSON: keep the status */ }
  const after = response.headers.get("Retry-After");
  return new Refused(after ? `${message} (try again in ${after} s)` : message, response.status);
}

export async function models(key) {
  const response = await fetch("/v1/models", { headers: headers(key) });
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data;
}

export async function reply(body, key, signal) {
  const response = await fetch("/v1/reply", { method: "POST", headers: headers(key), body: JSON.stringify(body), signal });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

// Calls on[event](data) for each server-sent event of a reply.
export async function stream(body, key, signal, on) {
  const response = await fetch("/v1/reply", {
    method: "POST", headers: headers(key), body: JSON.stringify({ ...body, stream: true }), signal,
  });
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "", ended = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    buffer += value;
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const { event, data } = parse(buffer.slice(0, end));
      buffer = buffer.slice(end + 2);
      if (event === "error") throw new Refused(data.error.message, 0);
      if (event === "done") ended = true;
      on[event]?.(data);
    }
  }
  if (!ended) throw new Refused("the server broke off", 0);
}

function parse(block) {
  let event = "message", data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) event = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  return { event, data: JSON.parse(data) };
}
