import type { Change } from "@syncflow-server/client";
import {
  getAssumedMasterState,
  getChangedDocumentsSince,
  getHeightOfRevision,
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

/** A part of the documents of a collection. */
export interface Part {
  ids: string[];
  /** Where the next part begins. */
  place: unknown;
}

/** Reads what the device has of a collection. */
export class Local {
  /**
   * States that were pulled for documents with an edit that was not pushed. RxDB does not store them, because the server
   * answers that push with the newest state. It has pulled a newer one if it stores such an answer late.
   */
  readonly skipped = new Map<string, State>();
  #identifierHash: Promise<string> | undefined;

  constructor(
    readonly collection: RxCollection,
    /** The state of the replication; there is none before it starts. */
    readonly replication: () => RxStorageInstanceReplicationState<any> | undefined,
  ) {}

  get idField(): string {
    return this.collection.schema.primaryPath as string;
  }

  async find(ids: string[]): Promise<Map<string, State>> {
    return new Map((await this.#find(ids)).map((document) => [String(document[this.idField]), plain(document)]));
  }

  /** A document that is written meanwhile may have a newer state than the assumed one, never an older one. */
  async documents(ids: string[]): Promise<Map<string, LocalDocument>> {
    const replication = this.#state();
    this.#identifierHash ??= replication.input.hashFunction(replication.input.identifier);
    const hash = await this.#identifierHash;
    const assumed = await getAssumedMasterState(replication, ids);
    return new Map((await this.#find(ids)).map((document) => {
      const id = String(document[this.idField]);
      const state = plain(document);
      // RxDB stores what it assumes after a pulled document, and not at all if it only pulls.
      const { o: origin } = document._meta;
      const isPulled = origin?.hash === hash && origin._rev === getHeightOfRevision(document._rev);
      const isKnown = isPulled || (replication.skipStoringPullMeta && state[HIDDEN] !== undefined);
      const master = isKnown ? state : (assumed[id]?.docData as State | undefined);
      return [id, { id, state, assumed: master, isDirty: !master || !isSame(master, state) }];
    }));
  }

  async isEmpty(): Promise<boolean> {
    const { documents } = await getChangedDocumentsSince(this.collection.storageInstance as any, 1);
    return documents.length === 0;
  }

  /** A part of all documents, deleted ones too, or nothing at the end. */
  async part(place: unknown): Promise<Part | undefined> {
    const storage = this.collection.storageInstance as any;
    const { documents, checkpoint } = await getChangedDocumentsSince<any, any>(storage, SCAN_DOCUMENTS, place);
    if (documents.length === 0) return undefined;
    return { ids: documents.map((document: any) => String(document[this.idField])), place: checkpoint };
  }

  /** Some documents of the server that were deleted here, and whose deletes RxDB has not pushed yet. */
  async unpushedDeletes(most: number): Promise<LocalDocument[]> {
    const found: LocalDocument[] = [];
    let place: unknown = this.replication()?.lastCheckpointDoc.up?.checkpointData;
    for (let part = await this.part(place); part && found.length < most; part = await this.part(place)) {
      place = part.place;
      const documents = [...(await this.documents(part.ids)).values()];
      found.push(...documents.filter(({ state, assumed, isDirty }) =>
        isDirty && state._deleted && assumed && !assumed._deleted));
    }
    return found.slice(0, most);
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

  async #find(ids: string[]): Promise<any[]> {
    return this.collection.storageInstance.findDocumentsById(ids, true);
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
