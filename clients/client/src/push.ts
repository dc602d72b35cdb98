import { CursorGone, SyncflowError } from "./errors.js";
import type { Http } from "./http.js";
import {
  type Base, type Conflict, type Edit, OTHER_LOG, type PushResult, type Resolved, successor, type VectorClock,
} from "./protocol.js";

/** How pushes are made. */
export interface PushOptions {
  /** The operations of one request; the server takes 1,000. */
  batchMaxOperations?: number;
  /** The bytes of one request, before compression. */
  batchMaxBytes?: number;
}

const BATCH_MAX_OPERATIONS = 500;
const BATCH_MAX_BYTES = 1024 * 1024;

/** An edit that was not sent yet. */
interface Open {
  index: number;
  edit: Edit;
  id: string;
}

/** An operation that is ready to be sent. */
interface Ready extends Open {
  base: Base | null;
  /** Whether it names the revision of its base. */
  usesBase: boolean;
  text: string;
  clock: VectorClock;
}

/** How edits are pushed. */
export interface PushRequest {
  /** The cursor of the last page that was stored; it says where the revisions of pulled bases are from. */
  cursor?: string | null | undefined;
  /** Off for edits that may be the server's already: those that are pushed again after a reset. */
  strict?: boolean;
  signal?: AbortSignal | undefined;
}

/** Pushes edits in batches, and finds out what the server understands. */
export class Pusher {
  /** Whether the server knows `baseRev`. It is taken to do so until it asks for a clock. */
  #knowsBaseRev = true;
  #isSure = false;
  /** A name for the time in which no answer has said that the log is another one. */
  #session: string = crypto.randomUUID();
  /** The newest place in the log from which revisions are known by answers to pushes of this session. */
  #place: string | undefined;
  /** One request at a time: only the place of the last answer is known to be behind those of all others. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(readonly http: Http, readonly clientId: string, readonly options: PushOptions) {}

  /** Whether `baseRev` is used, or `undefined` before the first answer that shows whether the server knows it. */
  get knowsBaseRev(): boolean | undefined {
    return this.#isSure ? this.#knowsBaseRev : undefined;
  }

  /** Whether an edit with this base would name its revision if it were pushed now. */
  namesRevision(base: Base | null, cursor: string | null | undefined): boolean {
    if (!this.#knowsBaseRev) return false;
    if (base === null || base.rev === 0) return true;
    return base.session === undefined ? !!cursor : base.session === this.#session && this.#place !== undefined;
  }

  /**
   * Pushes edits in their order, until each has an outcome. Throws if a request fails for good; edits of its batch and
   * later ones are then without an outcome. With `strict` off, clocks that were used before are taken again.
   */
  async push(edits: readonly Edit[], request: PushRequest): Promise<PushResult> {
    const session = this.#session;
    const result: PushResult = { accepted: [], conflicts: [], refused: [], resolved: [] };
    // A later edit of the same document builds on the earlier one, which may be in another batch.
    const reached = new Map<string, Base>();
    const open = edits.map((edit, index) => ({ edit, index, id: edit.id ?? crypto.randomUUID() }));
    let most = this.options.batchMaxOperations ?? BATCH_MAX_OPERATIONS;
    while (open.length > 0) {
      const batch: Ready[] = [];
      const work = async () => {
        // The caller may have made an edit that is only right on the revision of its base.
        const isGone = ({ edit }: Open) => edit.vectorClock === undefined && edit.base?.session === session;
        if (session !== this.#session && open.some(isGone)) {
          throw new CursorGone("Cursor reset", "another push found another log", "reset");
        }
        batch.push(...this.#batch(open, reached, most, request.cursor));
        const answer = await this.#send(batch, request);
        if (typeof answer !== "string") this.#sort(batch, answer, result, reached);
        return answer;
      };
      const answer = await this.#inTurn(work, request.signal).catch((error) => {
        if (error instanceof CursorGone && result.accepted.length > 0) error.mayHaveTakenEffect = true;
        throw error;
      });
      if (answer === "too large") {
        if (batch.length === 1) result.refused.push(tooLarge(batch[0] as Ready));
        else most = Math.ceil(batch.length / 2);
        if (batch.length === 1) open.shift();
        continue;
      }
      if (answer !== "needs clocks") open.splice(0, batch.length);
    }
    return result;
  }

  async #inTurn<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const running = this.#turn.then(() => {
      signal?.throwIfAborted();
      return work();
    });
    this.#turn = running.catch(() => undefined);
    return unlessAborted(running, signal);
  }

  /** The next edits that fit one request. */
  #batch(open: readonly Open[], reached: Map<string, Base>, most: number, cursor: string | null | undefined): Ready[] {
    const mostBytes = this.options.batchMaxBytes ?? BATCH_MAX_BYTES;
    const batch: Ready[] = [];
    // The first edits of documents. A later one names the same revision: the server knows that it has seen the first.
    const first = new Map<string, Ready>();
    const clocks = new Map<string, VectorClock>();
    let bytes = 0;
    for (const { edit, index, id } of open.slice(0, most)) {
      const before = first.get(documentOf(edit));
      const base = before?.usesBase ? before.base : (reached.get(documentOf(edit)) ?? edit.base);
      const seen = clocks.get(documentOf(edit)) ?? base?.vectorClock ?? {};
      const usesBase = edit.vectorClock === undefined && this.namesRevision(base, cursor);
      const ready = this.#ready({ edit, index, id, base, usesBase }, seen);
      bytes += new TextEncoder().encode(ready.text).length + 1;
      if (batch.length > 0 && bytes > mostBytes) break;
      batch.push(ready);
      if (!before) first.set(documentOf(edit), ready);
      clocks.set(documentOf(edit), ready.clock);
    }
    return batch;
  }

  #ready(known: Omit<Ready, "text" | "clock">, seen: VectorClock): Ready {
    const { edit, id, base, usesBase } = known;
    const { type, collection, docId, data, vectorClock } = edit;
    const timestamp = edit.timestamp ?? Date.now();
    const clock = vectorClock ?? successor(seen, this.clientId);
    const causality = usesBase ? { baseRev: base?.rev ?? 0 } : { vectorClock: clock };
    const content = type === "delete" ? {} : { data };
    const operation = { id, type, collection, docId, ...content, timestamp, clientId: this.clientId, ...causality };
    return { ...known, text: JSON.stringify(operation), clock };
  }

  async #send(batch: Ready[], request: PushRequest): Promise<Answer | "too large" | "needs clocks"> {
    const { cursor = null, strict = true, signal } = request;
    const places = batch.some(({ usesBase }) => usesBase) ? { cursor, place: this.#place } : {};
    const head = JSON.stringify({ clientId: this.clientId, partial: true, strict, ...places }).slice(0, -1);
    const text = `${head},"operations":[${batch.map((ready) => ready.text).join(",")}]}`;
    let answer: Answer;
    try {
      answer = (await this.http.post("/operations", text, signal)) as Answer;
    } catch (error) {
      if (isTooLarge(error)) return "too large";
      if (error instanceof CursorGone) this.#forget();
      throw error;
    }
    const needsClock = (refused: { index: number; fields: string[] }) =>
      batch[refused.index]?.usesBase && refused.fields.includes("vectorClock");
    if (this.#knowsBaseRev && !this.#isSure && answer.refused?.some(needsClock)) {
      // Operations without a base were decided already. Their ids are known, so it is harmless to send them again.
      this.#knowsBaseRev = false;
      this.#isSure = true;
      return "needs clocks";
    }
    // A clock that the caller gave shows nothing.
    const decided = new Set([...answer.accepted, ...answer.conflicts].map(({ id }) => id));
    this.#isSure ||= batch.some(({ id, usesBase }) => usesBase && decided.has(id));
    if (answer.place !== undefined) this.#place = answer.place;
    return answer;
  }

  /** The log is another one than that of the answers so far. */
  #forget(): void {
    this.#session = crypto.randomUUID();
    this.#place = undefined;
  }

  #sort(batch: Ready[], answer: Answer, result: PushResult, reached: Map<string, Base>): void {
    const sent = new Map(batch.map((ready) => [ready.id, ready]));
    const session = answer.place === undefined ? OTHER_LOG : this.#session;
    const revisions = new Map(answer.revisions?.map((revision) => [revision.id, revision]));
    for (const { id } of answer.accepted) {
      const ready = sent.get(id);
      if (!ready) continue;
      const before = reached.get(documentOf(ready.edit)) ?? ready.base;
      const revision = revisions.get(id);
      // Without a revision, the state is that of a clock, or the answer to the push that took effect was lost.
      const base = revision
        ? { rev: revision.rev, vectorClock: { ...before?.vectorClock, ...revision.raised }, session }
        : { rev: (before?.rev ?? 0) + 1, vectorClock: ready.clock, session: OTHER_LOG };
      reached.set(documentOf(ready.edit), base);
      const isKnown = revision !== undefined || !ready.usesBase;
      const counter = isKnown ? { counter: base.vectorClock[this.clientId] ?? 0 } : {};
      result.accepted.push({ index: ready.index, id, base, ...counter });
    }
    for (const conflict of answer.conflicts) {
      const ready = sent.get(conflict.id);
      if (ready) result.conflicts.push(conflictOf(ready.index, conflict, session));
    }
    for (const { index, fields, message } of answer.refused ?? []) {
      const ready = batch[index];
      if (ready) result.refused.push({ index: ready.index, id: ready.id, fields, message });
    }
    result.resolved.push(...(answer.resolved ?? []));
  }
}

/** The answer to a push. */
interface Answer {
  accepted: { id: string }[];
  conflicts: AnsweredConflict[];
  refused?: { index: number; fields: string[]; message: string }[];
  resolved?: Resolved[];
  revisions?: { id: string; rev: number; raised: VectorClock }[];
  place?: string;
}

interface AnsweredConflict {
  id: string;
  data?: Record<string, unknown> | null;
  vectorClock?: VectorClock;
  conflict: {
    relation: Conflict["relation"];
    rev?: number;
    deleted?: boolean;
    operationId?: string;
    clientId?: string;
  };
}

function conflictOf(index: number, { id, data, vectorClock, conflict }: AnsweredConflict, session: string): Conflict {
  const { relation, rev, deleted, operationId, clientId } = conflict;
  // A document that the author may not read is left out.
  if (rev === undefined || data === undefined) return { index, id, relation };
  const current = {
    rev,
    vectorClock: vectorClock ?? {},
    session,
    data,
    deleted: deleted ?? data === null,
    operationId: operationId ?? "",
    clientId: clientId ?? "",
  };
  return { index, id, relation, current };
}

function documentOf({ collection, docId }: Edit): string {
  return JSON.stringify([collection, docId]);
}

/** Whether fewer operations at a time would help. */
function isTooLarge(error: unknown): boolean {
  if (!(error instanceof SyncflowError)) return false;
  return error.status === 413 || (error.status === 400 && error.fields.includes("operations"));
}

function tooLarge({ index, id }: Ready) {
  return { index, id, fields: ["data"], message: "the operation is too large for a request" };
}

/** Waits for some work, but not after the signal was aborted. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((found, failed) => {
    const giveUp = () => failed(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    work.then(found, failed).finally(() => signal.removeEventListener("abort", giveUp));
  });
}
