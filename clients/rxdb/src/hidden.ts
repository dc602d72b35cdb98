import { type Base, OTHER_LOG, type VectorClock } from "@syncflow-server/client";
import { deepEqual, type RxJsonSchema, type WithDeleted } from "rxdb/plugins/core";

/** The field of each document in which the adapter keeps the server's revision and clock. */
export const HIDDEN = "syncflow";

/** What the field has. It is left out of documents that the server has never had. */
export interface Hidden {
  /** The document that this is about: an application may copy a document together with this field. */
  id?: string;
  rev: number;
  clock: VectorClock;
  /** The log that the revision is of. A restored database counts some revisions again, for other contents. */
  log?: string;
  /** The session of the client in which the revision is known, if it was not pulled. */
  session?: string;
  /** The server refused this content, so it is only on this device. */
  refused?: true;
  /** The local state must give way to this one, whatever the application would decide. */
  settled?: true;
}

/** A document as RxDB hands it to a replication. */
export type State = WithDeleted<Record<string, unknown>> & { [HIDDEN]?: Hidden };

/** Adds the hidden field to a schema. Every collection that is replicated needs it. */
export function withSyncflow<T>(schema: RxJsonSchema<T>): RxJsonSchema<T & { [HIDDEN]?: Hidden }> {
  const field = {
    type: "object",
    properties: { rev: { type: "number" }, clock: { type: "object", additionalProperties: true } },
    additionalProperties: true,
  };
  const properties = { ...schema.properties, [HIDDEN]: field };
  return { ...schema, properties } as unknown as RxJsonSchema<T & { [HIDDEN]?: Hidden }>;
}

/** The base of an edit whose author saw this state. Without the name of a log, its revision says nothing. */
export function baseOf(state: State | undefined, log?: string): Base | null {
  const hidden = state?.[HIDDEN];
  if (!hidden) return null;
  const session = log !== undefined && hidden.log === log ? hidden.session : OTHER_LOG;
  return { rev: hidden.rev, vectorClock: hidden.clock, ...(session === undefined ? {} : { session }) };
}

export function hiddenOf(id: string, { rev, vectorClock, session }: Base, log?: string): Hidden {
  const known = { ...(log === undefined ? {} : { log }), ...(session === undefined ? {} : { session }) };
  return { id, rev, clock: vectorClock, ...known };
}

/** Returns the state without the field if that is about another document. */
export function withoutForeign(id: string, state: State): State {
  const about = state[HIDDEN]?.id;
  if (about === undefined || about === id) return state;
  const { [HIDDEN]: _, ...own } = state;
  return own as State;
}

const OF_RXDB = new Set(["_deleted", "_rev", "_meta", "_attachments", HIDDEN]);

/** What the application has put into a document, which is what the server gets. */
export function contentOf(state: State): Record<string, unknown> {
  return Object.fromEntries(Object.entries(state).filter(([key, value]) => !OF_RXDB.has(key) && value !== undefined));
}

/**
 * Whether a document has only left this device, because its user may not see it any more. Nobody deleted it, and others
 * may still have it.
 */
export function isRemoved(state: State | undefined): boolean {
  return !!state?._deleted && Object.keys(state[HIDDEN]?.clock ?? {}).length === 0;
}

/** Whether the server has refused a document that it never had, so that only this device has it. */
export function isRefused(state: State | undefined): boolean {
  const { refused, clock = {} } = state?.[HIDDEN] ?? {};
  return refused === true && Object.keys(clock).length === 0;
}

/** Whether the application would see no difference. What a deleted document once was makes none. */
export function isSame(a: State, b: State): boolean {
  if (a._deleted || b._deleted) return !!a._deleted === !!b._deleted;
  return deepEqual(contentOf(a), contentOf(b));
}

/** The keys of an update that makes one state into the other, unless one cannot: an update removes nothing. */
export function changedKeys(from: State, to: State): Record<string, unknown> | undefined {
  const before = contentOf(from);
  const after = contentOf(to);
  if (Object.keys(before).some((key) => !(key in after))) return undefined;
  return Object.fromEntries(Object.entries(after).filter(([key, value]) => !deepEqual(before[key], value)));
}
