// Collections, their documents, and one document with its history.

import { button, clock, code, count, json, link, make, notice, shorten, table, time } from "../dom.js";
import { DRAWN_MAX_ENTRIES, drawing } from "../clocks.js";
import { author } from "./live.js";
import { partial } from "./overview.js";

const PAGE_DOCUMENTS = 50;

export function documents(context) {
  const [collection, ...id] = context.parts;
  if (!collection) listCollections(context);
  else if (id.length === 0) listDocuments(context, collection);
  else void showDocument(context, collection, id.join("/"));
}

function listCollections({ root, log, signal }) {
  const name = make("input", { id: "collection", required: true, autocomplete: "off" });
  const form = make("form", {
    class: "bar",
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = link("documents", name.value);
    },
  }, make("label", { for: "collection" }, "Collection"), name, make("button", { type: "submit" }, "Open"));
  const list = make("div");
  root.append(form, list);
  const show = () => {
    const rows = log.summary("collection").sort((a, b) => (a.name < b.name ? -1 : 1)).map(({ name, documents, last }) =>
      [make("a", { href: link("documents", name) }, name), count(documents.size), time(last.timestamp)]);
    list.replaceChildren(
      ...(rows.length > 0
        ? [table("Collections that the log names", ["Collection", "Documents in the log", "Last change, author’s time"], rows)]
        : [notice("The log names no collection yet.")]),
      ...partial(log),
    );
  };
  log.addEventListener("change", show, { signal });
  show();
}

function crumbs(...items) {
  return make("nav", { class: "crumbs", "aria-label": "Path" }, items.flatMap((item, index) => (index > 0 ? [" / ", item] : [item])));
}

function listDocuments({ root, api, log, signal }, collection) {
  const filter = make("input", { id: "filter", autocomplete: "off", spellcheck: "false", placeholder: '{"done": false}' });
  const problem = make("div");
  const list = make("div");
  const more = button("More documents", () => void load());
  const form = make("form", {
    class: "bar",
    onsubmit: (event) => {
      event.preventDefault();
      restart();
    },
  }, make("label", { for: "filter" }, "Filter"), filter, make("button", { type: "submit" }, "Find"));
  root.append(crumbs(make("a", { href: link("documents") }, "Collections"), collection), form, problem, list, more);
  let found = [];
  let cursor = null;
  let asked = 0;

  const load = async () => {
    const mine = (asked += 1);
    more.disabled = true;
    try {
      const text = filter.value.trim();
      const request = { limit: PAGE_DOCUMENTS, clock: true, ...(cursor ? { cursor } : {}), ...(text ? { filter: JSON.parse(text) } : {}) };
      const page = await api.post(`/documents/${encodeURIComponent(collection)}/query`, request);
      if (signal.aborted || mine !== asked) return;
      found = [...found, ...page.documents];
      cursor = page.cursor;
      problem.replaceChildren();
      show(page.hasMore);
    } catch (error) {
      if (!signal.aborted && mine === asked) problem.replaceChildren(notice(`${error.message}.`, "error"));
    } finally {
      more.disabled = false;
    }
  };
  const show = (hasMore) => {
    more.hidden = !hasMore;
    const rows = found.map(({ _id, _rev, _clock, ...data }) => [
      make("a", { href: link("documents", collection, _id) }, shorten(_id, 48)),
      count(_rev),
      clock(_clock),
      make("code", { class: "data" }, json(data, 200)),
    ]);
    list.replaceChildren(rows.length > 0
      ? table(`Documents of ${shorten(collection, 60)}, newest change first`, ["Id", "Revision", "Clock", "Data"], rows)
      : notice("No document was found."));
  };
  const restart = () => {
    found = [];
    cursor = null;
    void load();
  };
  more.hidden = true;
  // A page that is being read further stays as it is.
  log.addEventListener("change", () => found.length <= PAGE_DOCUMENTS && restart(), { signal });
  restart();
}

async function showDocument({ root, api, log, signal }, collection, id) {
  const state = make("section", { class: "document" });
  const history = make("section");
  root.append(
    crumbs(make("a", { href: link("documents") }, "Collections"), make("a", { href: link("documents", collection) }, collection), shorten(id, 60)),
    state, history,
  );
  const load = async () => {
    try {
      const path = `/documents/${encodeURIComponent(collection)}/${encodeURIComponent(id)}?clock=1`;
      const { _id, _rev, _clock, ...data } = await api.get(path);
      if (!signal.aborted) state.replaceChildren(...current(_rev, _clock, data));
    } catch (error) {
      if (signal.aborted) return;
      const isGone = error.status === 404;
      state.replaceChildren(notice(isGone ? "The document is deleted, or was never there." : `${error.message}.`, isGone ? "note" : "error"));
    }
  };
  const show = () => {
    const found = log.of(collection, id);
    history.replaceChildren(make("h2", {}, "History"), ...historyOf(found, log), ...partial(log));
  };
  let known = -1;
  const onChange = () => {
    const { length } = log.of(collection, id);
    if (length !== known) void load();
    known = length;
    show();
  };
  log.addEventListener("change", onChange, { signal });
  onChange();
}

function current(rev, vectorClock, data) {
  return [
    make("h2", {}, `Revision ${count(rev)}`),
    make("p", {}, "Clock ", clock(vectorClock)),
    make("pre", { tabindex: 0, "aria-label": "Data" }, code(JSON.stringify(data, null, 2))),
  ];
}

function historyOf(found, log) {
  if (found.length === 0) return [notice("The log has no entry of this document.")];
  let state;
  const rows = found.map((entry) => {
    const before = state;
    state = stateAfter(before, entry);
    return [
      make("span", { class: `type ${entry.type}`, title: entry.id }, entry.type),
      author(entry, log),
      time(entry.timestamp),
      clock(entry.vectorClock, entry.clientId),
      make("div", {}, changes(before, entry), lost(entry)),
    ];
  }).reverse();
  const cut = found.length > DRAWN_MAX_ENTRIES && notice(`The drawing shows the newest ${DRAWN_MAX_ENTRIES} entries.`);
  return [
    make("div", { class: "drawing", tabindex: 0, role: "group", "aria-label": "Drawing of the clocks" }, drawing(found)),
    make("p", { class: "hint" }, "Each line is a client, and each circle an operation with its author’s counter. An arrow leads from an operation to one whose author had seen it."),
    cut,
    table("Entries of this document, newest first", ["Operation", "Author", "Author’s time", "Clock", "Change"], rows),
  ].filter(Boolean);
}

/** The data of a document after an entry, as far as the entries say. */
export function stateAfter(before, { type, data }) {
  if (type === "delete" || data === null) return {};
  return type === "update" ? { ...before, ...data } : data;
}

/** The keys that an entry changes, each with its value before, and those that it removes. */
export function changes(before, entry) {
  if (entry.type === "delete" || entry.data === null) return "–";
  const line = (key, old, value) => make("li", {}, make("b", {}, shorten(key, 40)), " ",
    old !== undefined && make("del", {}, json(old, 60)), " ", value !== undefined && make("span", {}, json(value, 120)));
  const kept = stateAfter(before, entry);
  const set = Object.entries(entry.data).flatMap(([key, value]) => {
    const old = before?.[key];
    return JSON.stringify(old) === JSON.stringify(value) ? [] : [line(key, old, value)];
  });
  const gone = Object.keys(before ?? {}).filter((key) => !(key in kept)).map((key) => line(key, before[key], undefined));
  const lines = [...set, ...gone];
  return lines.length === 0 ? "nothing" : make("ul", { class: "changes" }, lines);
}

/** The part of an operation that did not survive a conflict, if the server says so. */
export function lost({ type, data, resolution }) {
  const sent = resolution?.operation;
  if (!sent) return undefined;
  const values = Object.entries(sent.data ?? {}).filter(([key, value]) => JSON.stringify(data?.[key]) !== JSON.stringify(value));
  const lines = values.map(([key, value]) => make("li", {}, make("b", {}, shorten(key, 40)), " ", make("del", {}, json(value, 120))));
  if (sent.type === "delete" && type !== "delete") lines.push(make("li", {}, "the delete"));
  return lines.length > 0 && make("div", {}, make("small", {}, `lost by ${shorten(sent.clientId, 24)}`), make("ul", { class: "changes" }, lines));
}
