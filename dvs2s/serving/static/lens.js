// The vocabulary lens: the words that a reply was allowed.

const SHOWN = 60;
const number = new Intl.NumberFormat("en");

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// β is close to 0 or 1 for most words: by its log-odds they differ to the eye.
function logOdds(beta) {
  const clipped = Math.min(Math.max(beta, 1e-5), 1 - 1e-5);
  return Math.log(clipped / (1 - clipped));
}

// Returns the share 0..1 of the way from the least to the likeliest of these words.
function scale(words) {
  const values = words.map((word) => logOdds(word.beta));
  const least = Math.min(...values), most = Math.max(...values);
  return (beta) => (most > least ? (logOdds(beta) - least) / (most - least) : 1);
}

function wordItem(word, used, share) {
  const item = element("li", used.has(word.word) ? "used" : "", word.word);
  item.style.fontSize = `${(0.72 + 0.68 * share).toFixed(3)}rem`;
  item.style.setProperty("--strength", `${Math.round(50 + 50 * share)}%`);
  const by = word.brought_in_by ? `, brought in by “${word.brought_in_by}” (${word.beta_without.toFixed(3)} without it)` : "";
  item.title = `β = ${word.beta.toFixed(3)}${used.has(word.word) ? ", used" : ""}${by}`;
  item.dir = "auto";
  return item;
}

function head(vocabulary, onFold) {
  const top = element("div", "lens-head"), count = element("p", "lens-count");
  const fold = element("button", "link fold", "show all");
  fold.type = "button";
  fold.setAttribute("aria-expanded", "false");
  fold.addEventListener("click", () => onFold(fold));
  count.append(fold, element("b", "", number.format(vocabulary.size)), ` of ${number.format(vocabulary.total)} words`);
  const share = element("div", "share"), content = element("span"), functional = element("span");
  content.style.width = `${(100 * vocabulary.content_size) / vocabulary.total}%`;
  functional.style.width = `${(100 * (vocabulary.size - vocabulary.content_size)) / vocabulary.total}%`;
  share.append(content, functional);
  const legend = element("p", "legend"), a = element("span"), b = element("span");
  a.append(element("i"), `${number.format(vocabulary.content_size)} content, chosen`);
  b.append(element("i"), `${number.format(vocabulary.size - vocabulary.content_size)} function, always in`);
  legend.append(a, b);
  top.append(count, share, legend);
  return top;
}

// Returns the lens of a reply; `used` is a Set of the words that it is made of.
export function lens(vocabulary, functions, used, name) {
  const box = element("section", "lens folded");
  box.setAttribute("aria-label", name);
  box.append(head(vocabulary, (button) => {
    const folded = box.classList.toggle("folded");
    button.textContent = folded ? "show all" : "fold";
    button.setAttribute("aria-expanded", String(!folded));
  }));
  const cloud = element("ul", "cloud");
  cloud.setAttribute("aria-label", "Content words, likely ones first");
  cloud.tabIndex = 0;
  const fill = (words) => {
    const share = scale(words);
    cloud.replaceChildren(...words.map((word) => wordItem(word, used, share(word.beta))));
  };
  const first = vocabulary.content.filter((word, i) => i < SHOWN || used.has(word.word));
  fill(first);
  box.append(cloud);
  if (vocabulary.content.length > first.length) {
    const more = element("button", "link", `show all ${number.format(vocabulary.content.length)}`);
    more.type = "button";
    more.addEventListener("click", () => { fill(vocabulary.content); more.remove(); cloud.focus(); });
    box.append(more);
  }
  box.append(functionWords(functions, used));
  return box;
}

function functionWords(functions, used) {
  const box = element("div", "functions");
  const fill = (words) => {
    const list = element("ul");
    list.setAttribute("aria-label", "Function words");
    list.append(...words.map((word) => element("li", used.has(word) ? "used" : "", word)));
    return list;
  };
  const those = functions.filter((word) => used.has(word));
  const more = element("button", "link", `all ${functions.length}`);
  more.type = "button";
  more.addEventListener("click", () => { box.replaceChildren("function words: ", fill(functions)); });
  box.append("function words: ", fill(those), more);
  return box;
}
