import {
  type Base, type Conflict, CursorGone, type Edit, type PushResult, successor, type SyncflowClient,
} from "@syncflow-server/client";
import { deepEqual, type RxReplicationWriteToMasterRow } from "rxdb/plugins/core";
import { baseOf, changedKeys, contentOf, HIDDEN, hiddenOf, isSame, type State } from "./hidden.js";
import type { Identity, Sent } from "./identity.js";
import type { Local } from "./local.js";
import type { Report } from "./report.js";

/** An own operation, or a tombstone, is built on so often; then the conflict is left to RxDB. */
const REBASES_MAX = 3;
/** Deletes that go before a push for which a tenant has no room. */
const LATER_DELETES_MAX = 100;

/** A write that RxDB wants to push. */
interface Write {
  row: RxReplicationWriteToMasterRow<any>;
  id: string;
  /** A state of the server that the write may replace although RxDB does not know of it. */
  rebased?: Base;
}

export interface PusherContext {
  client: SyncflowClient;
  identity: Identity;
  report: Report;
  local: Local;
  collection: string;
  idField: string;
  signal: AbortSignal;
  /** The log that is pulled now. */
  log: () => string;
  /** The cursor up to which it was pulled; `null` if the device has newer states already. */
  cursor: () => string | null;
  /** Is called if the server changed more than what was pushed, or if its log may be another one. */
  resync: () => void;
}

/** From where a push knows revisions. */
interface Known {
  /** The cursor; `null` after the server has said that it is of another log. */
  cursor: string | null;
  log: string;
}

/** RxDB's push handler: returns the server's state of each document that is in conflict. */
export async function push(context: PusherContext, rows: RxReplicationWriteToMasterRow<any>[]): Promise<State[]> {
  await refresh(context, rows);
  // A conflict that was resolved for the server's state needs no write.
  const changed = rows.filter(({ assumedMasterState: assumed, newDocumentState: fork }) =>
    !assumed || assumed[HIDDEN]?.refused || !isSame(assumed, fork));
  // Deletes make room in a tenant that may not keep more.
  let open: Write[] = changed
    .map((row) => ({ row, id: String(row.newDocumentState[context.idField]) }))
    .sort((a, b) => Number(!!b.row.newDocumentState._deleted) - Number(!!a.row.newDocumentState._deleted));
  const masters: State[] = [];
  const known: Known = { cursor: context.cursor(), log: context.log() };
  for (let round = 0; open.length > 0; round++) {
    const again: Write[] = [];
    const { edits, result } = await pushOnce(context, open, known);
    context.identity.settled([...result.conflicts, ...result.refused].map(({ id }) => id));
    const resolved = new Set(result.resolved.map(({ id }) => id));
    const sent = context.identity.sentOf(context.collection);
    for (const { index, id, base, counter } of result.accepted) {
      const write = open[index];
      if (!write) continue;
      if (counter !== undefined) context.identity.counted(id, counter);
      const used = context.identity.usedCounter(sent.get(write.id) ?? [], id);
      const isByClock = edits[index]?.vectorClock !== undefined;
      if (isByClock && used >= (counter ?? 0) && !resolved.has(id) && round < REBASES_MAX) {
        again.push({ ...write, rebased: above(context, base, used) });
      }
      note(write, { [HIDDEN]: hiddenOf(write.id, base, known.log) });
    }
    for (const { index, fields, message } of result.refused) {
      const write = open[index];
      if (!write) continue;
      const base = write.rebased ?? baseOf(write.row.assumedMasterState, known.log) ?? { rev: 0, vectorClock: {} };
      note(write, { [HIDDEN]: { ...hiddenOf(write.id, base, known.log), refused: true } });
      context.report.refused.next({ document: write.row.newDocumentState, fields, message });
    }
    const removed = result.conflicts.filter(({ current }) => !current).map(({ index }) => open[index]?.id ?? "");
    // A later document under this id is not made from earlier operations.
    for (const id of removed) context.identity.settled(sent.get(id) ?? []);
    await context.identity.note("removed", context.collection, removed);
    // The server has looked at these documents, and no pull has come since.
    const answered = [...result.accepted, ...result.conflicts].flatMap(({ index }) => open[index]?.id ?? []);
    for (const id of answered) context.local.skipped.delete(id);
    await context.identity.forget("skipped", context.collection, answered);
    for (const conflict of result.conflicts) {
      const write = open[conflict.index];
      if (!write) continue;
      const base = round < REBASES_MAX ? mayReplace(context, write, conflict) : undefined;
      if (base) again.push({ ...write, rebased: base });
      else masters.push(masterOf(context, write, conflict, known.log));
    }
    for (const { id, outcome, lost } of result.resolved) {
      const write = open[edits.findIndex((edit) => edit.id === id)];
      // A write that was pushed again to get a newer counter meets itself, and loses nothing.
      if (!write || outcome === "won" || (write.rebased?.rev === 0 && !lost)) continue;
      const document = write.row.newDocumentState;
      context.report.lost.next({ document: lost ? { ...document, ...lost } : document, current: document });
    }
    if (result.resolved.length > 0) context.resync();
    open = again;
  }
  return masters;
}

/**
 * The base on which a write is pushed again that was accepted with a clock of this device. An earlier operation on the
 * document may have the same counter or a greater one, because its answer was lost. Then the server was restored, or the
 * operation never arrived. Others may have it from before, and would take this one for seen.
 *
 * If the server made that counter, the device cannot know it. So the write is pushed with a revision, and the server
 * gives it a newer counter. The first such push is in conflict with the write itself, and the answer has its revision.
 */
function above({ client }: PusherContext, base: Base, used: number): Base {
  if (!Number.isFinite(used)) return { rev: 0, vectorClock: base.vectorClock };
  return { ...base, vectorClock: { ...base.vectorClock, [client.clientId]: used } };
}

/** Pushes with revisions, or with clocks if the log is another one than that of the revisions. */
async function pushOnce(context: PusherContext, writes: readonly Write[], known: Known) {
  let ids = writes.map(() => crypto.randomUUID());
  const attempt = async () => {
    const edits = writes.map((write, index) => editOf(context, write, ids[index]!, known));
    await context.identity.sending(edits.map((edit) => sentOf(context, edit)));
    return { edits, result: await pushAll(context, edits, known) };
  };
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof CursorGone)) throw error;
    // RxDB pulls nothing before a push has ended. The next pull finds out what became of the log.
    context.resync();
    known.cursor = null;
    // They may have got counters in the log that is gone. These stay noted as unknown, under the ids from before.
    if (error.mayHaveTakenEffect) ids = writes.map(() => crypto.randomUUID());
    return attempt();
  }
}

/** What to note of an edit. The counter is unknown if the server makes it. */
function sentOf({ client }: PusherContext, edit: Edit & { id: string }): Sent {
  return { id: edit.id, collection: edit.collection, docId: edit.docId, counter: edit.vectorClock?.[client.clientId] };
}

/**
 * Pushes edits. If a tenant may not keep more, the deletes go first: they make room. So do those that were made later,
 * which RxDB holds back until this push has ended. It pushes them again then, and they replace what they led to.
 */
async function pushAll(context: PusherContext, edits: readonly Edit[], known: Known): Promise<PushResult> {
  const { client, signal } = context;
  const request = { signal, cursor: known.cursor };
  try {
    return await client.push(edits, request);
  } catch (error) {
    if ((error as { status?: number }).status !== 507) throw error;
    const ids = new Set(edits.map(({ docId }) => docId));
    const deletes = edits.filter(({ type }) => type === "delete");
    const later = await laterDeletes(context, ids, known);
    if (deletes.length === edits.length || deletes.length + later.length === 0) throw error;
    await context.identity.sending(later.map((edit) => sentOf(context, edit)));
    const { conflicts, refused } = await client.push([...deletes, ...later], request).catch(unsure);
    const failed = new Set([...conflicts, ...refused].map(({ id }) => id));
    context.identity.settled(later.map(({ id }) => id).filter((id) => failed.has(id)));
    // The server knows the accepted deletes by their ids.
    return client.push(edits, request).catch(unsure);
  }
}

/** Passes an error on of a push after another one, which may have taken effect. */
function unsure(error: unknown): never {
  if (error instanceof CursorGone) error.mayHaveTakenEffect = true;
  throw error;
}

/** The deletes of other documents than these that were not pushed yet. */
async function laterDeletes(context: PusherContext, except: ReadonlySet<string>, known: Known) {
  const documents = (await context.local.unpushedDeletes(LATER_DELETES_MAX)).filter(({ id }) => !except.has(id));
  return documents.map(({ id, state, assumed }) => {
    const row = { newDocumentState: state, assumedMasterState: assumed } as RxReplicationWriteToMasterRow<any>;
    return editOf(context, { id, row }, crypto.randomUUID(), known);
  });
}

/**
 * Replaces states that are not the newest any more. RxDB collects what it pushes while another push is under way. A
 * document that is pulled meanwhile would be put back to what it was: RxDB hands over its old state as an edit of the
 * new one.
 */
async function refresh({ local, idField }: PusherContext, rows: RxReplicationWriteToMasterRow<any>[]): Promise<void> {
  const documents = await local.documents(rows.map(({ newDocumentState }) => String(newDocumentState[idField])));
  for (const row of rows) {
    const document = documents.get(String(row.newDocumentState[idField]));
    if (!document) continue;
    if (document.assumed) row.assumedMasterState = document.assumed;
    if (deepEqual(document.state, row.newDocumentState)) continue;
    // RxDB keeps this object, so it is changed in place.
    for (const key of Object.keys(row.newDocumentState)) delete row.newDocumentState[key];
    Object.assign(row.newDocumentState, document.isDirty ? document.state : document.assumed);
  }
}

/**
 * Writes into the state that RxDB is about to keep as the server's. The next push starts from there, and another
 * device's write in between is then seen.
 */
function note(write: Write | undefined, members: Partial<State>): void {
  if (write) Object.assign(write.row.newDocumentState, members);
}

function editOf({ client, collection }: PusherContext, write: Write, id: string, known: Known): Edit & { id: string } {
  const { row, id: docId, rebased } = write;
  const fork = row.newDocumentState as State;
  const assumed = row.assumedMasterState as State | undefined;
  // A device that only pulled so far has noted no assumed state. The document says what it was made from.
  const base = rebased ?? baseOf(assumed ?? fork, known.log);
  const edit: Omit<Edit, "type"> & { id: string } = { id, collection, docId, base };
  const isNamed = client.namesRevision(base, known.cursor);
  // A revision of another log says nothing, but clocks hold in every log.
  if (!isNamed) edit.vectorClock = successor(base?.vectorClock ?? {}, client.clientId);
  if (fork._deleted) return { ...edit, type: "delete" };
  // An update is only right on exactly the state that it was made from, which a clock does not promise.
  const isExact = isNamed && client.knowsBaseRev && !rebased && !assumed?._deleted && !assumed?.[HIDDEN]?.refused;
  const keys = isExact && assumed ? changedKeys(assumed, fork) : undefined;
  return keys ? { ...edit, type: "update", data: keys } : { ...edit, type: "insert", data: contentOf(fork) };
}

/** The base on which a write in conflict can be pushed without asking anybody. */
function mayReplace({ identity }: PusherContext, { row }: Write, { current, relation }: Conflict): Base | undefined {
  if (!current || relation === "forbidden") return undefined;
  // The answer to an earlier push was lost, so the device does not know of its own write. This one is made after it.
  const isOwn = identity.includes(current.operationId);
  // A document with a fixed id was deleted before this device began, which therefore never got the tombstone.
  const isOldTombstone = !row.assumedMasterState && !baseOf(row.newDocumentState) && current.deleted;
  return isOwn || isOldTombstone ? current : undefined;
}

function masterOf(context: PusherContext, { row, id }: Write, { current, relation }: Conflict, log: string): State {
  const fork = row.newDocumentState as State;
  const known = { ...((row.assumedMasterState as State | undefined) ?? fork), [context.idField]: id };
  const settled = relation === "forbidden" ? { settled: true as const } : {};
  if (relation === "forbidden") {
    context.report.refused.next({ document: fork, fields: [], message: "the user may not make this write" });
  }
  // A document that the user may not read leaves the device.
  if (!current) {
    return { ...known, _deleted: true, [HIDDEN]: { rev: 0, clock: {}, ...settled } };
  }
  const hidden = { ...hiddenOf(id, current, log), ...settled };
  if (current.deleted || current.data === null) return { ...known, _deleted: true, [HIDDEN]: hidden };
  return { ...current.data, [context.idField]: id, _deleted: false, [HIDDEN]: hidden };
}
