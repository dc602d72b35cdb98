import { type Change, CursorGone, type SyncflowClient } from "@syncflow-server/client";
import type { State } from "./hidden.js";
import type { Identity } from "./identity.js";
import type { Local } from "./local.js";
import type { Recovery } from "./recovery.js";
import { Restart } from "./restart.js";

/** How far a collection was pulled. It is empty while a restart is not complete. */
export interface Checkpoint {
  cursor?: string;
  /** A name of this device for the log that the cursor is of. */
  log?: string;
}

export interface Pulled {
  documents: State[];
  checkpoint: Checkpoint;
}

export interface PullerContext {
  client: SyncflowClient;
  identity: Identity;
  local: Local;
  recovery: Recovery;
  collection: string;
  /** Whether the device pushes. Otherwise it has nothing to bring back. */
  pushes: boolean;
  /** The server counts the progress of one cursor of a client. */
  countsProgress: boolean;
  signal: AbortSignal;
  /** Asks for another pull. */
  resync: () => void;
  /** Is called with what was pulled, before RxDB has stored it. */
  pulled: (cursor: string, documents: number, pollAfterSeconds?: number) => void;
}

/** RxDB's pull handler. */
export class Puller {
  #log: string = crypto.randomUUID();
  #cursor: string | null = null;
  #restart: Restart | undefined;
  /** Documents that had left this device when the restart began. It tells of them. */
  #removed: string[] = [];
  /** What a restart had found when a request of it failed. */
  #found: State[] = [];
  /** A cursor that came without documents, and the one before it. */
  #moved: { from: string | null; to: string } | undefined;
  /** Documents that RxDB may not have stored yet; a tombstone that follows is completed from them. */
  readonly #onTheWay = new Map<string, State>();
  /** The pause that the server asked for last. */
  #pollAfterSeconds: number | undefined;

  constructor(readonly context: PullerContext) {}

  /** The cursor up to which everything was pulled; `null` during a restart, which brings newer states too. */
  get cursor(): string | null {
    return this.#restart ? null : this.#cursor;
  }

  /** The name of the log that is pulled now. */
  get log(): string {
    return this.#log;
  }

  /** Returns at least `batchSize` documents, unless there are no more: RxDB takes a shorter batch for the last one. */
  async pull(checkpoint: Checkpoint | undefined, batchSize: number): Promise<Pulled> {
    const { client, identity, local, recovery, collection, countsProgress, signal } = this.context;
    const from = checkpoint?.cursor ?? null;
    if (checkpoint?.log !== undefined && !this.#restart) this.#log = checkpoint.log;
    if ((local.storedCursor() ?? null) === from) this.#onTheWay.clear();
    if (!this.#restart && from === null && !(await local.isEmpty())) this.#begin("start");
    if (this.#restart) return this.#continue(this.#restart, checkpoint, batchSize);

    const documents: State[] = [];
    let cursor = this.#moved && this.#moved.from === from ? this.#moved.to : from;
    try {
      const request = { cursor, collections: [collection], limit: batchSize, countsProgress, signal };
      for await (const page of client.pull(request)) {
        documents.push(...(await recovery.confirm(await this.states(page.operations))));
        cursor = page.cursor;
        this.#pollAfterSeconds = page.pollAfterSeconds;
        if (documents.length >= batchSize) break;
        // A restored database may still know the cursor of a device that had not pulled its own writes.
        if (!page.hasMore) documents.push(...(await recovery.bringBackUnseen()));
        // The documents of this call are dropped; the restart brings them again.
        if (!page.hasMore && identity.removedOf(collection).length > 0) {
          return this.#continue(this.#begin("view"), checkpoint, batchSize);
        }
      }
    } catch (error) {
      if (!(error instanceof CursorGone)) throw error;
      return this.#continue(this.#begin(error.reason), checkpoint, batchSize);
    }
    return this.#end(from, cursor ?? "", documents);
  }

  /** The documents that changes lead to. */
  async states(changes: readonly Change[]): Promise<State[]> {
    const deleted = changes.filter(({ type }) => type === "delete").map(({ docId }) => docId);
    const known = deleted.length > 0 ? await this.context.local.find(deleted) : new Map<string, State>();
    return changes.flatMap((change) => {
      const { docId } = change;
      const state = this.context.local.stateOf(change, this.#onTheWay.get(docId) ?? known.get(docId), this.#log);
      if (!state) return [];
      this.#onTheWay.set(docId, state);
      return [state];
    });
  }

  #begin(reason: "start" | "reset" | "view"): Restart {
    if (reason === "reset") this.#log = crypto.randomUUID();
    this.#found = [];
    this.#moved = undefined;
    const { pushes, recovery, resync } = this.context;
    this.#removed = this.context.identity.removedOf(this.context.collection);
    this.#restart = new Restart(recovery, pushes || reason === "view" ? reason : "start", (changes) => this.states(changes), resync);
    return this.#restart;
  }

  async #continue(started: Restart, checkpoint: Checkpoint | undefined, batchSize: number): Promise<Pulled> {
    let restart = started;
    // A reset is done as a whole, so that no push comes between: it would be about the log that is gone.
    const most = restart.reason === "reset" ? Infinity : batchSize;
    while (this.#found.length < most && !restart.isDone) {
      try {
        this.#found.push(...(await restart.next(batchSize)));
      } catch (error) {
        if (!(error instanceof CursorGone)) throw error;
        // The log was replaced while it was read.
        restart = this.#begin(error.reason);
      }
    }
    const documents = this.#found;
    this.#found = [];
    if (!restart.isDone) return { documents, checkpoint: checkpoint ?? {} };
    this.#restart = undefined;
    await this.context.identity.toldOf(this.context.collection, this.#removed);
    return this.#end(checkpoint?.cursor ?? null, restart.cursor ?? "", documents);
  }

  async #end(from: string | null, to: string, documents: State[]): Promise<Pulled> {
    const { identity, local } = this.context;
    await identity.persist();
    if (documents.length === 0 && to !== from) {
      this.#moved = { from, to };
      // Only if RxDB has stored all that came before.
      if ((local.storedCursor() ?? null) === from) await local.storeCheckpoint({ cursor: to, log: this.#log });
    }
    this.#cursor = to;
    this.context.pulled(to, documents.length, this.#pollAfterSeconds);
    return { documents, checkpoint: { cursor: to, log: this.#log } };
  }
}
