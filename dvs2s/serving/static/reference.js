// The API's description, drawn from openapi.json.
import { element } from "./lens.js";
import { loadSettings } from "./store.js";

const key = loadSettings().key, base = location.origin;
const description = await (await fetch("/openapi.json")).json();
const schemas = description.components.schemas;
const resolve = (schema) => (schema?.$ref ? schemas[schema.$ref.split("/").pop()] : schema);

document.getElementById("about").textContent = description.info.description.replaceAll("`", "");
document.getElementById("client").textContent = `from openai import OpenAI

client = OpenAI(base_url="${base}/v1", api_key="none")
chat = client.chat.completions.create(
    model="", messages=[{"role": "user", "content": "do you like coffee ?"}]
)
print(chat.choices[0].message.content)`;

function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.filter((s) => s.type !== "null").map(kind).join(" or ");
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(", ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`;
  return schema.const ?? schema.type ?? "anything";
}

function fields(schema) {
  const table = element("table"), head = element("tr");
  head.append(...["field", "type", ""].map((text) => element("th", "", text)));
  table.append(head);
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const row = element("tr"), cell = element("td"), required = schema.required?.includes(name);
    cell.append(element("code", "", name));
    row.append(cell, element("td", "", kind(property)), element("td", "", property.description ?? (required ? "required" : "")));
    table.append(row);
  }
  return table;
}

function tryOut(method, path, example) {
  const box = element("div"), input = element("textarea", "tryout"), go = element("button", "action", "Try it"), out = element("pre");
  input.value = example ? JSON.stringify(example, null, 2) : "";
  input.setAttribute("aria-label", `Body of ${path}`);
  input.hidden = method === "get";
  go.type = "button";
  out.hidden = true;
  go.addEventListener("click", async () => {
    out.hidden = false;
    out.textContent = "…";
    const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    try {
      const response = await fetch(path, { method: method.toUpperCase(), headers, body: method === "get" ? undefined : input.value });
      const text = await response.text();
      try { out.textContent = `${response.status}\n${JSON.stringify(JSON.parse(text), null, 1)}`; } catch { out.textContent = `${response.status}\n${text}`; }
    } catch (error) { out.textContent = error.message; }
  });
  box.append(input, go, out);
  return box;
}

for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const box = element("details", "op"), summary = element("summary"), body = element("div", "body");
    summary.append(element("span", "method", method.toUpperCase()), element("code", "", path), element("span", "note", operation.summary ?? ""));
    body.append(element("p", "note", operation.description ?? ""));
    const request = resolve(operation.requestBody?.content["application/json"].schema);
    if (request) body.append(fields(request));
    const example = request?.examples?.[0];
    if (example) body.append(element("pre", "", `curl ${base}${path} -H 'Content-Type: application/json' \\\n  -d '${JSON.stringify(example)}'`));
    const answers = element("table");
    for (const [status, answer] of Object.entries(operation.responses)) {
      const row = element("tr");
      row.append(element("td", "", status), element("td", "", answer.description));
      answers.append(row);
    }
    body.append(answers);
    if (!path.includes("{")) body.append(tryOut(method, path, example));
    box.append(summary, body);
    document.getElementById("operations").append(box);
  }
}
