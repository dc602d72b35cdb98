import type { Change } from "@syncflow-server/client";
import {
  getAssumedMasterState,
  getChangedDocumentsSince,
  setCheckpoint,
  type RxCollection,
  type RxStorageInstanceReplicationState,
  writeDocToDocState,
} from "rxdb/plugins/core";
import { HIDDEN, hiddenOf, isSame, type State } from "./hidden.js";

const SCAN_DOCUMENTS = 200;

/** A document of this device: its state, and the server's as far as the device knows. */
export interface LocalDocument {
  id: string;
  state: State;
  assumed: State | undefined;
  /** Whether it has an edit that the server has not accepted. */
  isDirty: boolean;
}

/** Reads what the device has of a collection. */
export class Local {
  constructor(
    readonly collection: RxCollection,
    /** The state of the replication; there is none before it starts. */
    readonly replication: () => RxStorageInstanceReplicationState<any> | undefined,
  ) {}

  get idField(): string {
    return this.collection.schema.primaryPath as string;
  }

  async find(ids: string[]): Promise<Map<string, State>> {
    const found = await this.collection.storageInstance.findDocumentsById(ids, true);
    return new Map(found.map((document) => [String((document as any)[this.idField]), plain(document)]));
  }

  /** A document that is written meanwhile may have a newer state than the assumed one, never an older one. */
  async documents(ids: string[]): Promise<Map<string, LocalDocument>> {
    const assumed = await getAssumedMasterState(this.#state(), ids);
    const states = await this.find(ids);
    return new Map([...states].map(([id, state]) => {
      const master = assumed[id]?.docData as State | undefined;
      return [id, { id, state, assumed: master, isDirty: !master || !isSame(master, state) }];
    }));
  }

  async isEmpty(): Promise<boolean> {
    const { documents } = await getChangedDocumentsSince(this.collection.storageInstance as any, 1);
    return documents.length === 0;
  }

  /** All documents, deleted ones too, in parts. */
  async *all(): AsyncGenerator<LocalDocument[]> {
    let checkpoint: any;
    for (;;) {
      const { collection } = this;
      const found = await getChangedDocumentsSince(collection.storageInstance as any, SCAN_DOCUMENTS, checkpoint);
      if (found.documents.length === 0) return;
      checkpoint = found.checkpoint;
      const ids = found.documents.map((document) => String((document as any)[this.idField]));
      yield [...(await this.documents(ids)).values()];
    }
  }

  /** The document that a change leads to, completed from what is known of it if the change deletes it. */
  stateOf(change: Change, known: State | undefined, log: string): State | undefined {
    const hidden = hiddenOf({ rev: change.rev ?? 0, vectorClock: change.vectorClock }, log);
    const id = { [this.idField]: change.docId };
    if (change.type !== "delete") return { ...change.data, ...id, _deleted: false, [HIDDEN]: hidden };
    // The schema may require fields that a tombstone does not have. A document that was never here need not go.
    return known ? { ...known, ...id, _deleted: true, [HIDDEN]: hidden } : undefined;
  }

  /** The cursor up to which everything is stored. */
  storedCursor(): string | undefined {
    return (this.replication()?.lastCheckpointDoc.down?.checkpointData as { cursor?: string } | undefined)?.cursor;
  }

  /** Stores a checkpoint that came without documents, which RxDB does not. */
  async storeCheckpoint(checkpoint: { cursor: string; log: string }): Promise<void> {
    await setCheckpoint(this.#state(), "down", checkpoint);
  }

  #state(): RxStorageInstanceReplicationState<any> {
    const state = this.replication();
    if (!state) throw new Error("the replication has not started");
    return state;
  }
}

function plain(document: unknown): State {
  return writeDocToDocState(document as any, false, false) as unknown as State;
}
