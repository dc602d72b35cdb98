import { ADDRESS, Network, type Random, type Server } from "@syncflow-server/test-support";
import {
  type Base, type Change, CursorGone, type Edit, join, OTHER_LOG, relate, SyncflowClient, SyncflowError, type VectorClock,
} from "../src/index.js";
import { fast } from "./support.js";

export type Data = Record<string, string>;

/** The state of a document on the server, as far as the device knows. `data` is missing if it is deleted. */
interface Known extends Base {
  data: Data | null;
}

/** An edit that the server has not shown back yet. */
interface Pending extends Edit {
  id: string;
  data: Data;
  /** The state that it led to, once it is accepted. */
  accepted?: Base;
}

/** Is told of values that were replaced by somebody who had seen them. */
export type Replaced = (values: Iterable<string>) => void;

const COLLECTION = "notes";

/** A device without a database: server state, outbox and cursor, as the page for authors of clients describes them. */
export class Device {
  readonly network: Network;
  readonly client: SyncflowClient;
  server = new Map<string, Known>();
  outbox: Pending[] = [];
  cursor: string | null = null;

  constructor(server: Server, random: Random, readonly replaced: Replaced, token: () => string) {
    this.network = new Network(server, random);
    const options = { url: ADDRESS, clientId: crypto.randomUUID(), fetch: this.network.fetch, backoff: fast, token };
    this.client = new SyncflowClient({ ...options, batchMaxOperations: 1 + random.below(5) });
  }

  /** What the user sees. */
  view(docId: string): Data | null {
    const known = this.server.get(docId)?.data ?? null;
    return this.outbox.filter((edit) => edit.docId === docId).reduce(apply, known);
  }

  edit(docId: string, type: "update" | "delete", data: Data = {}): void {
    const before = this.view(docId);
    this.replaced(type === "delete" ? Object.values(before ?? {}) : Object.keys(data).map((key) => before?.[key] ?? ""));
    const earlier = this.outbox.findLast((edit) => edit.docId === docId);
    const base = earlier ? (earlier.accepted ?? earlier.base) : (this.server.get(docId) ?? null);
    // An update of a document that does not exist, or no longer, creates it with the keys of the update.
    this.outbox.push({ id: crypto.randomUUID(), type, collection: COLLECTION, docId, data, base });
  }

  /** Pulls, pushes and pulls again, once. Throws if the network, or the token, does not let it. */
  async sync(signal: AbortSignal): Promise<void> {
    await this.#pull(signal);
    const open = this.outbox.filter(({ accepted }) => !accepted);
    if (open.length === 0) return;
    const result = await this.client.push(open, { signal, cursor: this.cursor }).catch((error) => {
      if (!(error instanceof CursorGone)) throw error;
    });
    // The pull finds out what the other log has, and the next round pushes again.
    if (!result) return this.#pull(signal);
    for (const { index, base } of result.accepted) open[index]!.accepted = base;
    if (result.refused.length > 0) throw new Error(`refused: ${result.refused[0]?.message}`);
    for (const conflict of result.conflicts) {
      const edit = open[conflict.index]!;
      const { current } = conflict;
      if (!current) throw new Error("a conflict without a document");
      const position = this.outbox.indexOf(edit);
      // Later edits of the outbox had seen this one; they follow it, on what it is built on now.
      const again = { ...edit, id: crypto.randomUUID(), base: current, type: edit.type === "delete" ? "delete" as const : "update" as const };
      this.outbox.splice(position, 1, again);
      const values = Object.values((current.data ?? {}) as Data);
      this.replaced(edit.type === "delete" ? values : overlap((current.data ?? {}) as Data, edit.data));
      for (const later of this.outbox.slice(position + 1)) if (later.docId === edit.docId) later.base = current;
    }
    await this.#pull(signal);
  }

  async #pull(signal: AbortSignal): Promise<void> {
    try {
      for await (const page of this.client.pull({ cursor: this.cursor, limit: 3, signal })) {
        for (const change of page.operations) this.#store(change);
        this.cursor = page.cursor;
      }
    } catch (error) {
      if (!(error instanceof CursorGone)) throw error;
      await this.#reset(signal);
    }
    // An edit leaves the outbox when its effect was shown. If a restored database has lost it, it is pushed again.
    this.outbox = this.outbox.filter(({ accepted, docId }) => !accepted || !this.#includes(docId, accepted));
    for (const edit of this.outbox) {
      delete edit.accepted;
      // Clocks hold in every log, and say which revision the base has in this one.
      const known = this.server.get(edit.docId);
      if (edit.base && known && relate(edit.base.vectorClock, known.vectorClock) === "equal") edit.base = known;
    }
  }

  #includes(docId: string, { vectorClock }: Base): boolean {
    const own = (clock: VectorClock | undefined) => clock?.[this.client.clientId] ?? 0;
    return own(this.server.get(docId)?.vectorClock) >= own(vectorClock);
  }

  #store({ docId, type, data, rev, vectorClock }: Change): void {
    this.server.set(docId, { data: type === "delete" ? null : (data as Data), rev: rev ?? 0, vectorClock });
  }

  /** Brings back what the device holds and the server has lost, and starts from nothing. */
  async #reset(signal: AbortSignal): Promise<void> {
    const old = this.server;
    const fresh = new Map<string, Known>();
    let cursor: string | null = null;
    for await (const page of this.client.pull({ cursor: null, signal })) {
      for (const { docId, data, rev, vectorClock } of page.operations) {
        fresh.set(docId, { data: data as Data | null, rev: rev ?? 0, vectorClock });
      }
      cursor = page.cursor;
    }
    const lost = [...old].filter(([id, { vectorClock }]) =>
      ["happens-after", "concurrent"].includes(relate(vectorClock, fresh.get(id)?.vectorClock ?? {})));
    for (const [docId, ours] of lost) await this.#bringBack(docId, ours, fresh.get(docId), signal);
    for (const edit of this.outbox) {
      delete edit.accepted;
      if (edit.base) edit.base = { ...edit.base, session: OTHER_LOG };
    }
    this.server = fresh;
    this.cursor = cursor;
    await this.#pull(signal);
  }

  async #bringBack(docId: string, ours: Known, theirs: Known | undefined, signal: AbortSignal): Promise<void> {
    let { data, vectorClock } = ours;
    let current: { data: unknown; vectorClock: VectorClock } | undefined = theirs;
    for (;;) {
      if (current && relate(vectorClock, current.vectorClock) === "concurrent") {
        // Both are kept where they do not touch; where they do, the server's stays, and this is said.
        const merged: Data = { ...data, ...((current.data ?? {}) as Data) };
        this.replaced(Object.values(data ?? {}).filter((value) => !Object.values(merged).includes(value)));
        data = merged;
        vectorClock = join(vectorClock, current.vectorClock);
        vectorClock[this.client.clientId] = (vectorClock[this.client.clientId] ?? 0) + 1;
      }
      const type = data === null ? "delete" as const : "insert" as const;
      const edit: Edit = { type, collection: COLLECTION, docId, data: data ?? {}, base: null, vectorClock };
      const { conflicts } = await this.client.push([edit], { signal, strict: false });
      const conflict = conflicts[0]?.current;
      if (!conflict || relate(vectorClock, conflict.vectorClock) !== "concurrent") return;
      current = conflict;
    }
  }
}

function apply(data: Data | null, edit: Pending): Data | null {
  if (edit.type === "delete") return null;
  return { ...data, ...edit.data };
}

function overlap(current: Data, data: Data): string[] {
  return Object.keys(data).flatMap((key) => current[key] ?? []);
}

export function isExpected(error: unknown): boolean {
  const isLogin = error instanceof SyncflowError && error.status === 401;
  return isLogin || (error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name));
}
