// Entries that bring together edits which did not know of each other, and entries of the server itself.

import { raised } from "../clocks.js";
import { clock, count, documentLink, make, notice, table, time } from "../dom.js";
import { changes, lost, stateAfter } from "./documents.js";
import { author } from "./live.js";
import { partial } from "./overview.js";

const SHOWN_MAX_ENTRIES = 200;

export function conflicts({ root, log, signal }) {
  const list = make("div");
  root.append(
    make("p", { class: "hint" }, "A conflict that is refused leaves no entry: its author receives the server’s state, and decides. The log shows how conflicts were settled."),
    list,
  );
  const show = () => {
    const found = settled(log.entries);
    const rows = found.slice(-SHOWN_MAX_ENTRIES).reverse().map(({ entry, before, kind }) => [
      kind,
      documentLink(entry.collection, entry.docId),
      author(entry, log),
      time(entry.timestamp),
      clock(entry.vectorClock, entry.clientId),
      make("div", {}, changes(before, entry), lost(entry)),
    ]);
    list.replaceChildren(
      rows.length > 0
        ? table(`Settled conflicts and writes of the server, newest first: ${count(found.length)}`, ["Kind", "Document", "Author", "Author’s time", "Clock", "Change"], rows)
        : notice("No entry settles a conflict."),
      ...partial(log),
    );
  };
  log.addEventListener("change", show, { signal });
  show();
}

/** The entries that resolve conflicts, raise the counters of several clients at once, or come from the server. */
export function settled(entries) {
  const last = new Map();
  return entries.flatMap((entry) => {
    const key = `${entry.collection}\n${entry.docId}`;
    const known = last.get(key);
    last.set(key, { vectorClock: entry.vectorClock, data: stateAfter(known?.data, entry) });
    const isOfServer = /^syncflow-server(:|$)/.test(entry.clientId);
    // The first entry that the page has of a document has nothing to be compared with.
    const isJoin = known !== undefined && raised(known.vectorClock, entry.vectorClock).length > 1;
    const { resolution } = entry;
    if (!isOfServer && !isJoin && !resolution) return [];
    const kind = isOfServer ? "by the server" : "joins edits";
    return [{ entry, before: known?.data, kind: resolution ? `resolved: ${resolution.outcome}` : kind }];
  });
}
