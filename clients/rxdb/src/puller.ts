import { type Change, CursorGone, type SyncflowClient } from "@syncflow-server/client";
import type { State } from "./hidden.js";
import type { Identity } from "./identity.js";
import type { Checkpoint, Local } from "./local.js";
import type { Recovery } from "./recovery.js";
import { Restart } from "./restart.js";

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
  /** Documents of which a restart has told, and no other pull may. They are forgotten when RxDB has stored its end. */
  #told: { ids: Set<string>; batch: number } | undefined;
  /** The last batch of a restart. */
  #batch = 0;
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
    const { client, local, recovery, collection, countsProgress, signal } = this.context;
    const from = checkpoint?.cursor ?? null;
    if (checkpoint?.log !== undefined && !this.#restart) this.#log = checkpoint.log;
    if (local.hasStored(checkpoint)) await this.#stored(checkpoint);
    if (!this.#restart && from === null && !(await local.isEmpty())) this.#begin("start");
    if (this.#restart) return this.#continue(this.#restart, checkpoint, batchSize);

    const documents = await local.missed();
    let cursor = this.#moved && this.#moved.from === from ? this.#moved.to : from;
    try {
      const request = { cursor, collections: [collection], limit: batchSize, countsProgress, signal };
      for await (const page of client.pull(request)) {
        documents.push(...(await recovery.confirm(await this.states(page.operations), true)));
        cursor = page.cursor;
        this.#pollAfterSeconds = page.pollAfterSeconds;
        if (documents.length >= batchSize) break;
        // A restored database may still know the cursor of a device that had not pulled its own writes.
        if (!page.hasMore) documents.push(...(await recovery.bringBackUnseen()));
        // The documents of this call are dropped; the restart brings them again.
        if (!page.hasMore && (await this.#isMissing())) {
          return this.#continue(this.#begin("view"), checkpoint, batchSize);
        }
      }
    } catch (error) {
      if (!(error instanceof CursorGone)) throw error;
      return this.#continue(this.#begin(error.reason), checkpoint, batchSize);
    }
    return this.#end(checkpoint, { ...checkpoint, cursor: cursor ?? "", log: this.#log }, documents);
  }

  /** The documents that changes lead to. */
  async states(changes: readonly Change[]): Promise<State[]> {
    // RxDB will note what it stores now.
    await this.context.local.noteAssumed(changes.map(({ docId }) => docId).filter((id) => !this.#onTheWay.has(id)));
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
    const { pushes, recovery, local, resync } = this.context;
    if (reason === "reset") {
      this.#log = crypto.randomUUID();
      // The server may have lost them.
      local.skipped.clear();
    }
    this.#found = [];
    this.#moved = undefined;
    this.#told = undefined;
    this.#restart = new Restart(recovery, pushes || reason === "view" ? reason : "start", (changes) => this.states(changes), resync);
    return this.#restart;
  }

  /** Goes on after RxDB has stored all that came up to a checkpoint. */
  async #stored(checkpoint: Checkpoint | undefined): Promise<void> {
    this.#onTheWay.clear();
    if (!this.#told || this.#told.batch !== checkpoint?.batch) return;
    const { identity, local, collection } = this.context;
    const told = [...this.#told.ids];
    this.#told = undefined;
    await identity.forget("removed", collection, told);
    await identity.forget("skipped", collection, told.filter((id) => !local.skipped.has(id)));
  }

  /** Whether there are documents whose newest state only a restart brings. */
  async #isMissing(): Promise<boolean> {
    const { identity, local, collection } = this.context;
    const isOpen = (id: string) => !this.#told?.ids.has(id);
    if (identity.noted("removed", collection).some(isOpen)) return true;
    // States that this device has left out since it started are at hand.
    const skipped = identity.noted("skipped", collection).filter((id) => isOpen(id) && !local.skipped.has(id));
    const documents = await local.documents(skipped);
    // The answer to the push of an edit has the newest state.
    return skipped.some((id) => !documents.get(id)?.isDirty);
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
    const batch = Math.max(this.#batch, checkpoint?.batch ?? 0) + 1;
    this.#batch = batch;
    if (!restart.isDone) return { documents, checkpoint: { ...checkpoint, batch } };
    this.#restart = undefined;
    const { identity, collection } = this.context;
    const ids = new Set([...identity.noted("removed", collection), ...identity.noted("skipped", collection)]);
    this.#told = { ids, batch };
    return this.#end(checkpoint, { cursor: restart.cursor ?? "", log: this.#log, batch }, documents);
  }

  async #end(from: Checkpoint | undefined, to: Checkpoint & { cursor: string }, documents: State[]): Promise<Pulled> {
    const { identity, local } = this.context;
    await identity.persist();
    if (documents.length === 0 && (to.cursor !== from?.cursor || to.batch !== from.batch)) {
      this.#moved = { from: from?.cursor ?? null, to: to.cursor };
      // Only if RxDB has stored all that came before.
      if (local.hasStored(from)) await local.storeCheckpoint(to);
    }
    this.#cursor = to.cursor;
    this.context.pulled(to.cursor, documents.length, this.#pollAfterSeconds);
    return { documents, checkpoint: to };
  }
}
