// The log as far as this page has read it, kept up to date by wake-ups.

import { Problem } from "./api.js";

/** A log up to this length is read from its beginning at once. */
const READ_AT_ONCE_MAX_ENTRIES = 2_000;
/** The page keeps no more than these; the oldest go first. */
const KEPT_MAX_ENTRIES = 20_000;
const KEPT_MAX_CHARACTERS = 32 * 1024 * 1024;
const PAGE_ENTRIES = 500;
/** The pause before a stream that failed is opened again. */
const RETRY_MS = 3_000;

/** The place before the first entry. */
const BEGINNING = "l.0.0";

export class Log extends EventTarget {
  /** The entries, oldest first. */
  entries = [];
  /** How the page learns of changes: `live`, `polling` or `offline`. */
  state = "offline";
  /** Why the log could not be read. */
  problem = "";
  /** Whether the entries begin with the first one that the server has. */
  isWhole = true;
  /** Whether some entries are documents that stand for removed history, or for what the reader may not see. */
  isCondensed = false;
  /** Whether the server says who pushed each operation, and how it resolved conflicts. */
  hasSubjects = true;
  #cursor = null;
  #characters = 0;
  #isDocuments = false;
  #isReading = false;
  #isAskedAgain = false;
  #stop = new AbortController();

  constructor(api) {
    super();
    this.api = api;
  }

  async start() {
    const { totalOperations } = await this.api.get("/stats");
    if (totalOperations <= READ_AT_ONCE_MAX_ENTRIES) this.#cursor = BEGINNING;
    else this.isWhole = false;
    if (this.#cursor) await this.read();
    void this.#listen();
  }

  close() {
    this.#stop.abort();
  }

  /** Begins again at the first entry of a log that was too long to be read at once. */
  async readFromBeginning() {
    this.#empty(BEGINNING);
    this.isWhole = true;
    await this.read();
  }

  /** Reads what is new, up to the end of the log. */
  async read() {
    if (this.#isReading) {
      this.#isAskedAgain = true;
      return;
    }
    this.#isReading = true;
    try {
      do {
        this.#isAskedAgain = false;
        while (await this.#readPage()) this.#tell();
      } while (this.#isAskedAgain);
      this.problem = "";
    } catch (error) {
      this.problem = error.message;
    } finally {
      this.#isReading = false;
    }
    this.#tell();
  }

  /** Reads a page, and says whether there is another one. */
  async #readPage() {
    const isAdmin = this.hasSubjects || undefined;
    const form = this.#isDocuments ? { as: "documents" } : { subjects: isAdmin, resolutions: isAdmin };
    let page;
    try {
      page = await this.api.post("/changes", { cursor: this.#cursor, limit: PAGE_ENTRIES, ...form });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.kind === "forbidden_role" && this.hasSubjects) {
        this.hasSubjects = false;
        return true;
      }
      if (error.status !== 410) throw error;
      // A restored database has another log. A reader who may not see everything has no log, and begins with nothing.
      if (error.reason === "view" && this.#cursor === null) throw error;
      this.#isDocuments = error.reason === "view";
      this.#empty(this.#isDocuments ? null : BEGINNING);
      return true;
    }
    if (this.#stop.signal.aborted) return false;
    const [before, after] = [placeOf(this.#cursor), placeOf(page.cursor)];
    const isDense = before !== undefined && after !== undefined && after - before === page.operations.length;
    if (!isDense && page.operations.length > 0) this.isCondensed = true;
    page.operations.forEach((entry, index) => {
      entry.place = isDense ? before + index + 1 : undefined;
      entry.characters = JSON.stringify(entry).length;
      this.#characters += entry.characters;
      this.entries.push(entry);
    });
    while (this.entries.length > KEPT_MAX_ENTRIES || this.#characters > KEPT_MAX_CHARACTERS) {
      this.#characters -= this.entries.shift().characters;
      this.isWhole = false;
    }
    this.#cursor = page.cursor;
    return page.hasMore;
  }

  async #listen() {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const place of this.api.wakeups(signal)) {
          this.#become("live");
          // A log that is too long begins here.
          this.#cursor ??= this.#isDocuments ? null : place;
          await this.read();
        }
      } catch (error) {
        if (signal.aborted) return;
        const isPlaceKnown = this.#cursor !== null;
        this.#become(error instanceof Problem && isPlaceKnown ? "polling" : "offline");
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      if (this.#cursor !== null && !signal.aborted) await this.read();
    }
  }

  #empty(cursor) {
    this.entries = [];
    this.#characters = 0;
    this.#cursor = cursor;
    this.isCondensed = false;
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#tell();
  }

  #tell() {
    if (!this.#stop.signal.aborted) this.dispatchEvent(new Event("change"));
  }

  /** The entries of a document, oldest first. */
  of(collection, id) {
    return this.entries.filter((entry) => entry.collection === collection && entry.docId === id);
  }

  /** What the entries say about each value of a key, such as each client. */
  summary(key) {
    const found = new Map();
    for (const entry of this.entries) {
      const name = entry[key];
      const known = found.get(name) ?? { name, entries: 0, characters: 0, documents: new Set(), first: entry };
      known.entries += 1;
      known.characters += entry.characters;
      known.documents.add(`${entry.collection}\n${entry.docId}`);
      known.last = entry;
      found.set(name, known);
    }
    return [...found.values()];
  }
}

/** The sequence number in a cursor of the log. */
function placeOf(cursor) {
  const place = /^l\.(\d+)\./.exec(cursor ?? "")?.[1];
  return place === undefined ? undefined : Number(place);
}
