import { SyncflowError } from "./errors.js";
import type { Http } from "./http.js";
import { type Base, type Conflict, type Edit, type PushResult, type Resolved, successor, type VectorClock } from "./protocol.js";

/** How pushes are made. */
export interface PushOptions {
  /** The operations of one request; the server takes 1,000. */
  batchMaxOperations?: number;
  /** The bytes of one request, before compression. */
  batchMaxBytes?: number;
  /**
   * On to send revisions in place of clocks. It is off by default: a server needs the place of the log that a revision
   * is known from, and this package does not send it yet. So a server of this version refuses such revisions.
   */
  useBaseRev?: boolean;
}

const BATCH_MAX_OPERATIONS = 500;
const BATCH_MAX_BYTES = 1024 * 1024;

/** An operation that is ready to be sent. */
interface Ready {
  index: number;
  edit: Edit;
  id: string;
  base: Base | null;
  text: string;
  clock: VectorClock;
}

/** Pushes edits in batches, and finds out what the server understands. */
export class Pusher {
  /** Whether the server knows `baseRev`. If it is used, the server is taken to do so until it asks for a clock. */
  #knowsBaseRev: boolean;
  #isSure: boolean;

  constructor(readonly http: Http, readonly clientId: string, readonly options: PushOptions) {
    this.#knowsBaseRev = options.useBaseRev ?? false;
    this.#isSure = !this.#knowsBaseRev;
  }

  /** Whether `baseRev` is used, or `undefined` before the first answer that shows whether the server knows it. */
  get knowsBaseRev(): boolean | undefined {
    return this.#isSure ? this.#knowsBaseRev : undefined;
  }

  /**
   * Pushes edits in their order, until each has an outcome. Throws if a request fails for good; edits of its batch and
   * later ones are then without an outcome. With `strict` off, clocks that were used before are taken again.
   */
  async push(edits: readonly Edit[], signal?: AbortSignal, strict = true): Promise<PushResult> {
    const result: PushResult = { accepted: [], conflicts: [], refused: [], resolved: [] };
    // A later edit of the same document builds on the earlier one, which may be in another batch.
    const reached = new Map<string, Base>();
    const open = edits.map((edit, index) => ({ edit, index, id: edit.id ?? crypto.randomUUID() }));
    let most = this.options.batchMaxOperations ?? BATCH_MAX_OPERATIONS;
    while (open.length > 0) {
      const batch = this.#batch(open, reached, most);
      const answer = await this.#send(batch, strict, signal);
      if (answer === "too large") {
        if (batch.length === 1) result.refused.push(tooLarge(batch[0] as Ready));
        else most = Math.ceil(batch.length / 2);
        if (batch.length === 1) open.shift();
        continue;
      }
      if (answer === "needs clocks") continue;
      open.splice(0, batch.length);
      this.#sort(batch, answer, result, reached);
    }
    return result;
  }

  /** The next edits that fit one request. */
  #batch(open: readonly Pick<Ready, "edit" | "index" | "id">[], reached: Map<string, Base>, most: number) {
    const mostBytes = this.options.batchMaxBytes ?? BATCH_MAX_BYTES;
    const batch: Ready[] = [];
    // The clocks of this batch. A revision needs no such thing: the server knows that later operations saw earlier ones.
    const clocks = new Map<string, VectorClock>();
    let bytes = 0;
    for (const { edit, index, id } of open.slice(0, most)) {
      const base = reached.get(documentOf(edit)) ?? edit.base;
      const ready = this.#ready(edit, index, id, base, clocks.get(documentOf(edit)) ?? base?.vectorClock ?? {});
      bytes += new TextEncoder().encode(ready.text).length + 1;
      if (batch.length > 0 && bytes > mostBytes) break;
      batch.push(ready);
      clocks.set(documentOf(edit), ready.clock);
    }
    return batch;
  }

  #ready(edit: Edit, index: number, id: string, base: Base | null, seen: VectorClock): Ready {
    const { type, collection, docId, data, vectorClock } = edit;
    const timestamp = edit.timestamp ?? Date.now();
    const usesBase = this.#knowsBaseRev && vectorClock === undefined;
    const clock = vectorClock ?? successor(seen, this.clientId);
    const causality = usesBase ? { baseRev: base?.rev ?? 0 } : { vectorClock: clock };
    const content = type === "delete" ? {} : { data };
    const operation = { id, type, collection, docId, ...content, timestamp, clientId: this.clientId, ...causality };
    return { index, edit, id, base, text: JSON.stringify(operation), clock };
  }

  async #send(batch: Ready[], strict: boolean, signal?: AbortSignal): Promise<Answer | "too large" | "needs clocks"> {
    const head = JSON.stringify({ clientId: this.clientId, partial: true, strict }).slice(0, -1);
    const text = `${head},"operations":[${batch.map((ready) => ready.text).join(",")}]}`;
    let answer: Answer;
    try {
      answer = (await this.http.post("/operations", text, signal)) as Answer;
    } catch (error) {
      if (isTooLarge(error)) return "too large";
      throw error;
    }
    if (this.#knowsBaseRev && answer.refused?.some(({ fields }) => fields.includes("vectorClock"))) {
      // Operations without a base were decided already. Their ids are known, so it is harmless to send them again.
      this.#knowsBaseRev = false;
      this.#isSure = true;
      return "needs clocks";
    }
    // A clock that the caller gave shows nothing.
    const decided = new Set([...answer.accepted, ...answer.conflicts].map(({ id }) => id));
    this.#isSure ||= batch.some(({ id, edit }) => edit.vectorClock === undefined && decided.has(id));
    return answer;
  }

  #sort(batch: Ready[], answer: Answer, result: PushResult, reached: Map<string, Base>): void {
    const sent = new Map(batch.map((ready) => [ready.id, ready]));
    for (const { id } of answer.accepted) {
      const ready = sent.get(id);
      if (!ready) continue;
      const before = reached.get(documentOf(ready.edit)) ?? ready.base;
      const base = { rev: (before?.rev ?? 0) + 1, vectorClock: ready.clock };
      reached.set(documentOf(ready.edit), base);
      result.accepted.push({ index: ready.index, id, base });
    }
    for (const conflict of answer.conflicts) {
      const ready = sent.get(conflict.id);
      if (ready) result.conflicts.push(conflictOf(ready.index, conflict));
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

function conflictOf(index: number, { id, data, vectorClock, conflict }: AnsweredConflict): Conflict {
  const { relation, rev, deleted, operationId, clientId } = conflict;
  // A document that the author may not read is left out.
  if (rev === undefined || data === undefined) return { index, id, relation };
  const current = {
    rev,
    vectorClock: vectorClock ?? {},
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
