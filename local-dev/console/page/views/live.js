// The log as it grows, newest entry first.

import { clock, count, documentLink, json, make, notice, shorten, table, time } from "../dom.js";
import { partial } from "./overview.js";

const SHOWN_MAX_ENTRIES = 200;

export function live({ root, log, signal }) {
  const filter = make("input", { id: "filter", type: "search", autocomplete: "off", oninput: () => show() });
  const paused = make("input", { id: "paused", type: "checkbox", onchange: () => show() });
  const status = make("p", { class: "hint", role: "status" });
  const list = make("div");
  root.append(
    make("form", { class: "bar", onsubmit: (event) => event.preventDefault() },
      make("label", { for: "filter" }, "Only entries with"), filter,
      make("label", { class: "check" }, paused, "Hold still")),
    status, list,
  );
  let held = log.entries;
  const show = () => {
    if (!paused.checked) held = [...log.entries];
    const wanted = filter.value.trim().toLowerCase();
    const found = wanted ? held.filter((entry) => textOf(entry).includes(wanted)) : held;
    const newest = found.slice(-SHOWN_MAX_ENTRIES).reverse();
    status.textContent = `${count(newest.length)} of ${count(found.length)} entries, newest first`;
    list.replaceChildren(...(newest.length === 0 ? [notice("There are no entries.")] : [entries("Entries of the log", newest, log)]), ...partial(log));
  };
  log.addEventListener("change", show, { signal });
  show();
}

function textOf({ id, type, collection, docId, clientId, subject, data }) {
  return [id, type, collection, docId, clientId, subject, JSON.stringify(data)].join("\n").toLowerCase();
}

/** A table of entries. */
export function entries(caption, list, log) {
  const hasPlaces = list.some(({ place }) => place !== undefined);
  const columns = [...(hasPlaces ? ["No."] : []), "Operation", "Document", "Author", "Author’s time", "Clock", "Data"];
  const rows = list.map((entry) => [
    ...(hasPlaces ? [entry.place === undefined ? "–" : count(entry.place)] : []),
    make("span", { class: `type ${entry.type}`, title: entry.id }, entry.removed ? "removed" : entry.type),
    documentLink(entry.collection, entry.docId),
    author(entry, log),
    time(entry.timestamp),
    clock(entry.vectorClock, entry.clientId),
    make("code", { class: "data" }, json(entry.data, 160)),
  ]);
  return table(caption, columns, rows);
}

export function author({ clientId, subject }, log) {
  const client = make("span", { title: clientId }, shorten(clientId, 24));
  return make("span", { class: "author" }, client, log.hasSubjects && subject ? make("small", {}, shorten(subject, 24)) : undefined);
}
