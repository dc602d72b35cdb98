import type { ChangesAnswer, ConflictDetails, OperationType, PulledOperation, RefusedOperation } from "./openapi.js";

/** From clients to counters. */
export type VectorClock = Record<string, number>;

/** A state of a document, as its reader knows it: the base of an edit. */
export interface Base {
  rev: number;
  vectorClock: VectorClock;
  /**
   * Set if the state was not pulled but is known from the answer to a push: the session of the client that got it. The
   * revision is used in this session only, because it says nothing if the database was restored since. It may be stored
   * with the rest. A base whose revision is of another log gets {@link OTHER_LOG}.
   */
  session?: string;
}

/** The session of bases whose revisions say nothing. Their clocks do. */
export const OTHER_LOG = "other";

/** An edit of one document, before it is an operation with an id and a clock. */
export interface Edit {
  /** A random one is made if it is left out, and kept over all attempts of one push. */
  id?: string;
  type: OperationType;
  collection: string;
  docId: string;
  /** All data for an `insert`, the changed keys for an `update`. */
  data?: Record<string, unknown>;
  /** The author's own time; now if it is left out. */
  timestamp?: number;
  /** The state that the author saw, or `null` if there was no document. */
  base: Base | null;
  /** The clock to send as it is, in place of the one that follows from `base`. */
  vectorClock?: VectorClock;
}

/** A change of a document, as a pull returns it. */
export type Change = Omit<PulledOperation, "data" | "vectorClock" | "rev"> & {
  /** All data of an `insert`, `null` for a `delete`. */
  data: Record<string, unknown> | null;
  vectorClock: VectorClock;
  /** Left out by pulls of operations. */
  rev?: number;
  /** The document was not deleted, but may no longer be read. */
  removed?: boolean;
};

export type Page = Omit<ChangesAnswer, "operations" | "cursor" | "conflicts"> & {
  operations: Change[];
  cursor: string;
  /** The pause that the server asks of clients that poll. */
  pollAfterSeconds?: number;
};

/** An edit that took effect, now or in an earlier attempt. */
export interface Accepted {
  index: number;
  id: string;
  /** The state that the edit led to, if nobody else wrote at the same time. */
  base: Base;
  /**
   * The counter of this client in the clock of that state. It is left out if only the server knows it: it made the
   * clock, and the answer in which it said so was lost. A clock that the client makes is then not sure to be newer.
   */
  counter?: number;
}

/** An edit that changed nothing, because its author had not seen the state that the server has. */
export interface Conflict {
  index: number;
  id: string;
  relation: ConflictDetails["relation"] | "forbidden";
  /** The server's document. It is left out if the author may not read it, or if there is none. */
  current?: Base & {
    /** `null` if the document is deleted. */
    data: Record<string, unknown> | null;
    deleted: boolean;
    operationId: string;
    clientId: string;
  };
}

/** An edit that is at fault: it would be refused again. */
export type Refused = Omit<RefusedOperation, "id"> & { id: string };

/** An edit that the server settled by itself. */
export interface Resolved {
  id: string;
  operation: string;
  outcome: "won" | "lost" | "merged";
  lost?: Record<string, unknown>;
}

/** Each edit of a push is in exactly one of the first three lists; `index` is its place in the push. */
export interface PushResult {
  accepted: Accepted[];
  conflicts: Conflict[];
  refused: Refused[];
  resolved: Resolved[];
}

/** The clock that has seen what both have seen. */
export function join(a: VectorClock, b: VectorClock): VectorClock {
  const joined = { ...a };
  for (const [client, counter] of Object.entries(b)) joined[client] = Math.max(joined[client] ?? 0, counter);
  return joined;
}

/**
 * The clock of a client's next edit of a document. The counter is one more than the document's, and not one from a clock
 * or a counter of the client: only then does a strict push notice that another device has the same client id.
 */
export function successor(clock: VectorClock, clientId: string): VectorClock {
  return { ...clock, [clientId]: (clock[clientId] ?? 0) + 1 };
}

export type ClockRelation = "equal" | "happens-before" | "happens-after" | "concurrent";

/** How the first clock stands to the second. */
export function relate(a: VectorClock, b: VectorClock): ClockRelation {
  let isLess = false;
  let isGreater = false;
  for (const client of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const difference = (a[client] ?? 0) - (b[client] ?? 0);
    isLess ||= difference < 0;
    isGreater ||= difference > 0;
  }
  if (isLess && isGreater) return "concurrent";
  if (isLess) return "happens-before";
  return isGreater ? "happens-after" : "equal";
}
