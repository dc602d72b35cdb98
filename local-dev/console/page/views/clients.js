// The clients of the tenant: how far each has pulled, and what each has written.

import { Problem } from "../api.js";
import { button, count, make, notice, shorten, table, time } from "../dom.js";
import { partial } from "./overview.js";

const PAGE_CLIENTS = 200;

export function clients({ root, api, log, signal }) {
  const pulled = make("section", {}, make("h2", {}, "Lag"));
  const rows = make("div", {}, notice("Reading …"));
  const written = make("div");
  pulled.append(rows);
  root.append(pulled, make("section", {}, make("h2", {}, "Writes"), written));
  let after;
  let earlier = [];
  let asked = 0;

  const load = async () => {
    const mine = (asked += 1);
    try {
      const page = await api.post("/clients", { limit: PAGE_CLIENTS, ...(after === undefined ? {} : { after }) });
      if (signal.aborted || mine !== asked) return;
      const more = button("More clients", () => {
        earlier = [...earlier, ...page.clients];
        after = page.next;
        void load();
      });
      more.hidden = page.next === null;
      rows.replaceChildren(...lags([...earlier, ...page.clients]), more);
    } catch (error) {
      if (signal.aborted || mine !== asked) return;
      const isForbidden = error instanceof Problem && error.status === 403;
      const text = isForbidden ? "Only the roles admin and service see how far clients are" : error.message;
      rows.replaceChildren(notice(`${text}.`, isForbidden ? "note" : "error"));
    }
  };
  const show = () => {
    written.replaceChildren(...writes(log), ...partial(log));
    void load();
  };
  log.addEventListener("change", show, { signal });
  show();
}

function lags(found) {
  if (found.length === 0) return [notice("No client has pulled with a client id.")];
  const most = Math.max(1, ...found.map(({ behind }) => behind));
  const rows = found.map(({ clientId, behind, seenAt }) => [
    make("span", { title: clientId }, shorten(clientId, 40)),
    count(behind),
    make("meter", { min: 0, max: most, value: behind, "aria-label": `lag of ${shorten(clientId, 40)}` }),
    time(seenAt),
  ]);
  return [table("Clients that pull", ["Client", "Lacks entries", "Lag", "Last pull, up to an hour earlier"], rows)];
}

function writes(log) {
  const found = log.summary("clientId").sort((a, b) => b.last.timestamp - a.last.timestamp);
  if (found.length === 0) return [notice("No client has written yet.")];
  const rows = found.map(({ name, entries, documents, last }) => [
    make("span", { title: name }, shorten(name, 40)),
    ...(log.hasSubjects ? [last.subject ?? "–"] : []),
    count(entries),
    count(documents.size),
    count(last.vectorClock?.[name] ?? 0),
    time(last.timestamp),
  ]);
  const columns = [
    "Client", ...(log.hasSubjects ? ["Subject"] : []), "Entries", "Documents", "Last counter", "Last write, author’s time",
  ];
  return [table("Clients with entries in the log", columns, rows)];
}
