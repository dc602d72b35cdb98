import { type Conflict, type Edit, join, relate, successor, type SyncflowClient, type VectorClock } from "@syncflow-server/client";
import type { RxCollection } from "rxdb/plugins/core";
import { resolve } from "./conflicts.js";
import { baseOf, contentOf, HIDDEN, hiddenOf, isRemoved, isSame, type State } from "./hidden.js";
import type { Identity } from "./identity.js";
import type { Local, LocalDocument } from "./local.js";
import type { Report } from "./report.js";

/** A conflict is resolved so often; then the server's state is taken. */
const RESOLUTIONS_MAX = 5;

export interface RecoveryContext {
  client: SyncflowClient;
  identity: Identity;
  report: Report;
  local: Local;
  collection: RxCollection;
  signal: AbortSignal;
}

/** Brings back to the server what it has lost and the device holds. */
export class Recovery {
  constructor(readonly context: RecoveryContext) {}

  /** Returns the states to take, after what the device knows better was pushed. */
  async compare(states: State[], used?: number): Promise<State[]> {
    const { local } = this.context;
    const mine = await local.documents(states.map((state) => String(state[local.idField])));
    const taken: State[] = [];
    await this.#skip(states, mine);
    for (const theirs of states) {
      const document = mine.get(String(theirs[local.idField]));
      const ours = baseOf(document?.assumed)?.vectorClock;
      const relation = ours ? relate(ours, baseOf(theirs)?.vectorClock ?? {}) : "happens-before";
      if (!document || !ours || relation === "equal" || relation === "happens-before") taken.push(theirs);
      else taken.push(...(await this.bringBack(document, ours, theirs, used)));
    }
    return taken;
  }

  /**
   * Pushes what the device holds, until the server has it or something that includes it. Returns the state to take in
   * its place, if the server does not take it. `used` is the greatest counter of operations on the document before.
   */
  async bringBack(
    document: LocalDocument,
    clock: VectorClock,
    theirs: State | undefined,
    used = this.#usedCounter(document.id),
  ): Promise<State[]> {
    const { client, identity, report, signal } = this.context;
    const { isDirty } = document;
    // Another device may have brought back a document that is not new. An equal clock is not a conflict then.
    let push = { state: document.state, clock: isDirty ? this.#after(clock) : clock, isNew: isDirty };
    let current = theirs;
    if (theirs && relate(clock, theirs[HIDDEN]?.clock ?? {}) === "concurrent") {
      const settled = await this.#settle(document, theirs);
      if (isSame(settled, theirs)) return [theirs];
      push = { state: settled, clock: this.#after(join(clock, theirs[HIDDEN]?.clock ?? {})), isNew: true };
    }
    for (let attempt = 0; ; attempt++) {
      const id = crypto.randomUUID();
      const edit: Edit = {
        id,
        type: push.state._deleted ? "delete" : "insert",
        collection: this.context.collection.name,
        docId: document.id,
        data: contentOf(push.state),
        base: null,
        vectorClock: push.clock,
      };
      // The local document stays as it is if it is dirty. It must not replace what was merged into this operation.
      const greatest = Math.max(push.clock[client.clientId] ?? 0, used);
      const counter = Number.isFinite(greatest) ? greatest : undefined;
      await identity.sending([{ ...edit, id, counter, isMerged: push.state !== document.state }]);
      const result = await client.push([edit], { signal, strict: push.isNew }).catch((error) => {
        // A user that may not write takes what the server has.
        if ((error as { status?: number }).status === 403) return undefined;
        throw error;
      });
      if (!result) {
        identity.settled([id]);
        return current ? [current] : [];
      }
      const { accepted, refused, conflicts } = result;
      if (accepted.length > 0) return [];
      identity.settled([id]);
      const [conflict] = conflicts;
      for (const { fields, message } of refused) report.refused.next({ document: push.state, fields, message });
      if (!conflict) return current ? [current] : [];
      if (!conflict.current) return [current ?? removed(document)];
      current = this.#stateOf(conflict, document);
      // Their state includes ours.
      if (conflict.relation === "happens-before" || attempt >= RESOLUTIONS_MAX) return [current];
      const settled = await this.#settle(document, current);
      if (isSame(settled, current)) return [current];
      push = { state: settled, clock: this.#after(join(push.clock, conflict.current.vectorClock)), isNew: true };
    }
  }

  async #settle(document: LocalDocument, theirs: State): Promise<State> {
    const input = { newDocumentState: document.state, realMasterState: theirs } as any;
    const output = await resolve(this.context.collection, input);
    if (!isSame(theirs, document.state)) this.context.report.conflict(input, output);
    return output;
  }

  /**
   * Takes pulled states, except those that lack an own operation which was accepted: the server has lost that. `isNext`
   * says that the cursor moves with these states, so that they come again if the device is switched off before RxDB has
   * stored them.
   */
  async confirm(states: State[], isNext = false): Promise<State[]> {
    const { identity, local, client, collection } = this.context;
    const sent = identity.sentOf(collection.name);
    const mine = await local.documents(states.map((state) => String(state[local.idField])));
    const stored = await this.#skip(states, mine);
    if (isNext) {
      await identity.forget("removed", collection.name, stored);
      await identity.forget("skipped", collection.name, stored);
    }
    const taken: State[] = [];
    for (const state of states) {
      const id = String(state[local.idField]);
      const document = mine.get(id);
      if (!sent.has(id)) {
        taken.push(state);
        continue;
      }
      const pushed = baseOf(document?.assumed)?.vectorClock[client.clientId] ?? 0;
      // An edit that is not accepted yet is pushed again by itself.
      const isLost = document && !document.isDirty && (state[HIDDEN]?.clock[client.clientId] ?? 0) < pushed;
      const used = this.#usedCounter(id);
      if (document && !document.isDirty) identity.settled(sent.get(document.id) ?? []);
      taken.push(...(isLost ? await this.compare([state], used) : [state]));
    }
    return taken;
  }

  /** Brings back own operations that were accepted, and that a pull up to the end has not shown. */
  async bringBackUnseen(): Promise<State[]> {
    const { identity, local, collection } = this.context;
    const sent = identity.sentOf(collection.name);
    if (sent.size === 0) return [];
    const taken: State[] = [];
    for (const document of (await local.documents([...sent.keys()])).values()) {
      const clock = baseOf(document.assumed)?.vectorClock;
      if (document.isDirty || !clock || isRemoved(document.assumed)) continue;
      const states = await this.bringBack(document, clock, undefined);
      identity.settled(sent.get(document.id) ?? []);
      taken.push(...states);
    }
    // The user may write these and not see them, or could not see them for a moment: a restart finds out.
    const gone = taken.filter(isRemoved).map((state) => String(state[local.idField]));
    await identity.note("removed", collection.name, gone);
    return taken;
  }

  /** Keeps the states that RxDB will leave out. Returns the ids of the others. */
  async #skip(states: State[], mine: Map<string, LocalDocument>): Promise<string[]> {
    const { identity, local, collection } = this.context;
    const dirty: string[] = [];
    const stored: string[] = [];
    for (const state of states) {
      const id = String(state[local.idField]);
      const isDirty = mine.get(id)?.isDirty ?? false;
      (isDirty ? dirty : stored).push(id);
      if (isDirty) local.skipped.set(id, state);
      else local.skipped.delete(id);
    }
    await identity.note("skipped", collection.name, dirty);
    return stored;
  }

  /**
   * Returns the state to take of a document that the server does not show: it is gone, unless the server has lost an own
   * operation that it had accepted.
   */
  async giveUp(document: LocalDocument, clock: VectorClock, absent: State): Promise<State[]> {
    const { identity, collection } = this.context;
    const sent = identity.sentOf(collection.name).get(document.id);
    if (!sent) return [absent];
    const taken = await this.bringBack(document, clock, absent);
    // A later document under this id is not made from these operations.
    identity.settled(sent);
    return taken;
  }

  #usedCounter(docId: string): number {
    const { identity, collection } = this.context;
    return identity.usedCounter(identity.sentOf(collection.name).get(docId) ?? []);
  }

  #after(clock: VectorClock): VectorClock {
    return successor(clock, this.context.client.clientId);
  }

  #stateOf({ current }: Conflict, document: LocalDocument): State {
    if (!current) return gone(document);
    const rest = { [this.context.local.idField]: document.id, [HIDDEN]: hiddenOf(document.id, current) };
    if (current.deleted || current.data === null) return { ...document.state, ...rest, _deleted: true };
    return { ...current.data, ...rest, _deleted: false };
  }
}

/** The document after it has left this device, because its user may not see it. */
export function removed(document: LocalDocument): State {
  return { ...gone(document), [HIDDEN]: { rev: 0, clock: {} } };
}

/** The document, deleted. */
export function gone({ state }: LocalDocument): State {
  return { ...state, _deleted: true };
}
