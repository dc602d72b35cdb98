// Builds the page. Texts of clients become text nodes, and never markup.

/** Makes an element. Keys of `properties` that begin with `on` are listeners; the others are attributes. */
export function make(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for the drawings. */
export function draw(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/**
 * A table with a head. On a narrow screen each row becomes a block, and each cell names its column. A browser then takes
 * it for a table no longer, so the roles are named.
 */
export function table(caption, columns, rows) {
  const row = (cells) => make("tr", { role: "row" }, cells);
  const head = columns.map((column) => make("th", { role: "columnheader", scope: "col" }, column));
  const body = rows.map((cells) =>
    row(cells.map((cell, index) => make("td", { role: "cell", "data-column": columns[index] }, cell))));
  return make("table", { role: "table" }, make("caption", {}, caption),
    make("thead", { role: "rowgroup" }, row(head)), make("tbody", { role: "rowgroup" }, body));
}

export function button(text, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, text);
}

export function notice(text, kind = "note") {
  return make("p", { class: `notice ${kind}`, role: kind === "error" ? "alert" : undefined }, text);
}

export function code(text, properties = {}) {
  return make("code", properties, text);
}

const plain = new Intl.NumberFormat("en");

export function count(number) {
  return plain.format(number);
}

export function bytes(number) {
  if (number < 1024) return `${count(number)} B`;
  const kib = number / 1024;
  return kib < 1024 ? `${kib.toFixed(1)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** The author's own time, which may be anything. */
export function time(milliseconds) {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return String(milliseconds);
  return make("time", { datetime: date.toISOString() }, date.toISOString().replace("T", " ").slice(0, 19));
}

export function shorten(text, most = 60) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** A value in one line, with spaces at which it can be broken. */
export function json(value, most = Infinity) {
  return shorten((JSON.stringify(value, null, 1) ?? "").replaceAll(/\n\s*/g, " "), most);
}

/** A vector clock as one text for each counter. */
export function clock(counters, own) {
  const parts = Object.entries(counters ?? {}).map(([client, counter]) =>
    make("span", { class: client === own ? "counter own" : "counter", title: client }, `${shorten(client, 12)} ${counter}`));
  return make("span", { class: "clock" }, parts);
}

/** The address of a view. */
export function link(...parts) {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

export function documentLink(collection, id) {
  return make("a", { href: link("documents", collection, id) }, shorten(`${collection} / ${id}`, 70));
}
