import type { HttpOptions, Token, WakeupOptions } from "@syncflow-server/client";
import { addRxPlugin, type RxCollection, type RxDatabase, type WithDeleted } from "rxdb/plugins/core";
import { RxDBLeaderElectionPlugin } from "rxdb/plugins/leader-election";
import { RxReplicationState, startReplicationOnLeaderShip } from "rxdb/plugins/replication";
import { type Observable, Subject } from "rxjs";
import { prepareConflictHandler } from "./conflicts.js";
import { Connection } from "./connection.js";
import { guardHidden } from "./guard.js";
import { HIDDEN, type State } from "./hidden.js";
import { SENT_MAX } from "./identity.js";
import { type Checkpoint, Local } from "./local.js";
import { Puller } from "./puller.js";
import { push } from "./pusher.js";
import { Recovery } from "./recovery.js";
import { type LostWrite, type RefusedWrite, Report } from "./report.js";
import { Turns } from "./turns.js";

export interface SyncflowOptions<T> extends Omit<HttpOptions, "url" | "token"> {
  collection: RxCollection<T>;
  /** The address of the server. */
  url: string;
  /** A token, or a function that gets one. It is called before the old one expires, and if the server refuses it. */
  token?: Token;
  /** Off for users that may not write. What they edit all the same stays on the device, also when it is on later. */
  push?: boolean;
  /** Off to sync once. */
  live?: boolean;
  /** The documents of a batch. */
  batchSize?: number;
  /** In a browser with several tabs, one of them replicates, unless this is off. */
  waitForLeadership?: boolean;
  /** The pause before a request that failed for good is made again. */
  retryTime?: number;
  wakeups?: WakeupOptions;
}

const BATCH_DOCUMENTS = 100;
const RETRY_MS = 10_000;

/** The replication of a collection. */
export class SyncflowReplication<T> extends RxReplicationState<T, Checkpoint> {
  /** @internal */
  constructor(readonly report: Report, ...rest: ConstructorParameters<typeof RxReplicationState<T, Checkpoint>>) {
    super(...rest);
  }

  /** Writes that the server does not take. They do not stop the others. */
  get refused$(): Observable<RefusedWrite> {
    return this.report.refused.asObservable();
  }

  /** Writes that lost in a conflict which the server settled. `conflict$` has those that were settled here. */
  get lost$(): Observable<LostWrite> {
    return this.report.lost.asObservable();
  }
}

/** Keeps a collection in sync with the server. */
export function replicateSyncflow<T>(options: SyncflowOptions<T>): SyncflowReplication<T> {
  const { collection, live = true, batchSize = BATCH_DOCUMENTS, waitForLeadership = true } = options;
  const untyped = collection as unknown as RxCollection;
  check(untyped);
  addRxPlugin(RxDBLeaderElectionPlugin);
  prepareConflictHandler(untyped);
  guardHidden(untyped);

  const end = new AbortController();
  const { signal } = end;
  const wake = new Subject<"RESYNC">();
  const turns = new Turns(Math.max(1, Math.floor(SENT_MAX / batchSize)));
  let open: () => void = () => undefined;
  /** A device that pushed before its first cursor would miss tombstones; one that missed a reset would overwrite. */
  const pulledOnce = new Promise<void>((resolve) => (open = resolve));
  let place: string | null = null;

  const connection = Connection.of(collection.database, end, options as HttpOptions);
  const report = new Report((input, output) => replication.subjects.conflict.next({ input, output: output as any }));
  const resync = () => wake.next("RESYNC");
  const local = new Local(untyped, () => replication.internalReplicationState);
  const again = retaking(local, resync);
  const prepared = Promise.all([connection.client, connection.identity]).then(([client, identity]) => {
    const common = { client, identity, report, local, signal, resync };
    const pulled = (cursor: string, documents: number, pollAfterSeconds?: number) => {
      place = cursor;
      open();
      void connection.wakeups.then((wakeups) => {
        wakeups.asked(pollAfterSeconds);
        if (documents > 0) wakeups.active();
      });
    };
    const recovery = new Recovery({ ...common, collection: untyped });
    const countsProgress = connection.isFirst(end);
    const puller = new Puller({
      ...common, recovery, collection: collection.name, pushes: options.push !== false, countsProgress, pulled,
    });
    const log = () => puller.log;
    const cursor = () => puller.cursor;
    return { puller, pusher: { ...common, log, cursor, collection: collection.name, idField: local.idField } };
  });
  prepared.catch(() => undefined);

  const pullOptions = {
    batchSize,
    stream$: wake.asObservable(),
    handler: async (checkpoint: Checkpoint | undefined, most: number) => {
      const { puller } = await prepared;
      const result = await turns.pull(() => puller.pull(checkpoint, most));
      again();
      return result as { documents: WithDeleted<T>[]; checkpoint: Checkpoint };
    },
  };
  const pushOptions = {
    batchSize,
    handler: async (rows: any[]) => {
      const { pusher } = await prepared;
      await pulledOnce;
      const masters = await turns.push(() => push(pusher, rows)).catch((error) => {
        // RxDB tries again after a while, and delays all pulls until then. They need not wait.
        replication.internalReplicationState?.events.active.up.next(false);
        throw error;
      });
      again();
      void connection.wakeups.then((wakeups) => {
        wakeups.active();
        // A stream tells of own commits too.
        if (live && wakeups.mode !== "stream") resync();
      });
      return masters as any[];
    },
  };
  const identifier = `syncflow-${options.url}-${options.tenant ?? ""}`;
  const replication: SyncflowReplication<T> = new SyncflowReplication<T>(
    report, identifier, collection as any, "_deleted", pullOptions, options.push === false ? undefined : pushOptions,
    live, options.retryTime ?? RETRY_MS, true,
  );
  replication.onCancel.push(() => {
    end.abort();
    connection.leave(end);
    report.close();
  });
  if (live) {
    const target = { wake: resync, place: () => (place === null ? undefined : { cursor: place, collections: [collection.name] }) };
    connection.wakeups.then((wakeups) => {
      if (!signal.aborted) replication.onCancel.push(wakeups.add(target));
    }, (error) => replication.subjects.error.next(error));
  }
  void startReplicationOnLeaderShip(waitForLeadership, replication);
  return replication;
}

/**
 * Returns a function that waits until RxDB has stored the answers to all pushes. If RxDB then takes states that it left
 * out before, it asks for a pull.
 */
function retaking(local: Local, resync: () => void): () => void {
  const asked = new WeakSet<State>();
  let isWaiting = false;
  return () => {
    const pushes = local.replication()?.streamQueue.up;
    if (isWaiting || !pushes || local.skipped.size === 0) return;
    isWaiting = true;
    const look = async () => {
      isWaiting = false;
      // If RxDB cannot store one, another pull would not help.
      const missed = (await local.missed()).filter((state) => !asked.has(state));
      for (const state of missed) asked.add(state);
      if (missed.length > 0) resync();
    };
    // A replication that ends closes its storage.
    pushes.then(look).catch(() => undefined);
  };
}

/** Removes all that a database has stored on this device, and ends its replications. What was not pushed is lost. */
export async function logout(database: RxDatabase): Promise<void> {
  await database.remove();
}

function check(collection: RxCollection): void {
  const { jsonSchema } = collection.schema as any;
  if (!(HIDDEN in jsonSchema.properties)) {
    throw new Error(`the schema of "${collection.name}" has no field "${HIDDEN}"; make it with withSyncflow(schema)`);
  }
  if (jsonSchema.attachments) throw new Error(`"${collection.name}" has attachments, which the server does not keep`);
}

