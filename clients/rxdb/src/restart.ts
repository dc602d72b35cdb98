import type { Change } from "@syncflow-server/client";
import { baseOf, HIDDEN, isRefused, isRemoved, type State } from "./hidden.js";
import type { LocalDocument, Part } from "./local.js";
import { gone, type Recovery } from "./recovery.js";

/**
 * Starts a collection from nothing, over documents that the device holds.
 *
 * - `reset`: the database of the server was restored. The device may be the last that holds what the server lost, so it
 *   pushes that again before it takes anything.
 * - `view`: the user may see other documents than before. What does not come is dropped.
 * - `start`: the device never stored a cursor, so it got no tombstones. What does not come was deleted.
 *
 * The checkpoint moves at the end only: a restart that is cut off begins again.
 */
export class Restart {
  cursor: string | null = null;
  #hasMore = true;
  #place: unknown;
  /** The documents that are looked at, also again if that fails. */
  #part: Part | undefined;
  #isDone = false;
  readonly #seen = new Set<string>();

  constructor(
    readonly recovery: Recovery,
    readonly reason: "start" | "reset" | "view",
    readonly states: (changes: readonly Change[]) => Promise<State[]>,
    /** Is called at the end, to get what the restart pushed. */
    readonly resync: () => void,
  ) {}

  get isDone(): boolean {
    return this.#isDone;
  }

  /** The next documents to store. */
  async next(batchSize: number): Promise<State[]> {
    if (this.#hasMore) return this.#page(batchSize);
    const { local } = this.recovery.context;
    this.#part ??= await local.part(this.#place);
    if (!this.#part) {
      this.#isDone = true;
      if (this.reason === "reset") this.resync();
      return [];
    }
    const documents = await local.documents(this.#part.ids.filter((id) => !this.#seen.has(id)));
    const taken = await this.#absent([...documents.values()]);
    this.#place = this.#part.place;
    this.#part = undefined;
    return taken;
  }

  /** Takes a page of the server, except what the device knows better. */
  async #page(limit: number): Promise<State[]> {
    const { client, local, collection, signal } = this.recovery.context;
    const request = { cursor: this.cursor, collections: [collection.name], limit, countsProgress: false, signal };
    const page = await client.pullPage(request);
    const states = await this.states(page.operations);
    const taken = this.reason === "reset" ? await this.recovery.compare(states) : await this.recovery.confirm(states);
    for (const state of states) this.#seen.add(String(state[local.idField]));
    this.cursor = page.cursor;
    this.#hasMore = page.hasMore;
    return taken;
  }

  /** Documents that the server does not have, as far as the device is told. */
  async #absent(documents: LocalDocument[]): Promise<State[]> {
    const taken: State[] = [];
    for (const document of documents) {
      const ours = baseOf(document.assumed)?.vectorClock;
      // The server has never had it and gets it in an ordinary push, or it is not this device's to bring back.
      if (!ours || isRemoved(document.assumed) || isRefused(document.assumed)) continue;
      if (this.reason === "reset") taken.push(...(await this.recovery.bringBack(document, ours, gone(document))));
      else if (!document.isDirty && !document.state._deleted) {
        // Others may still see the document. A later write of this device under its id has not seen what they have.
        const unseen = this.reason === "view" ? { [HIDDEN]: { rev: 0, clock: {} } } : {};
        taken.push(...(await this.recovery.giveUp(document, ours, { ...gone(document), ...unseen })));
      }
    }
    return taken;
  }
}

