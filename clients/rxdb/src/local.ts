import type { Change } from "@syncflow-server/client";
import {
  deepEqual,
  getAssumedMasterState,
  getChangedDocumentsSince,
  getHeightOfRevision,
  getMetaWriteRow,
  setCheckpoint,
  type RxCollection,
  type RxStorageInstanceReplicationState,
  writeDocToDocState,
} from "rxdb/plugins/core";
import { HIDDEN, hiddenOf, isSame, type State, withoutForeign } from "./hidden.js";

const SCAN_DOCUMENTS = 200;

/** A document of this device: its state, and the server's as far as the device knows. */
export interface LocalDocument {
  id: string;
  state: State;
  assumed: State | undefined;
  /** Whether it has an edit that the server has not accepted. */
  isDirty: boolean;
}

/** How far a collection was pulled. It is empty while the first restart is not complete. */
export interface Checkpoint {
  cursor?: string;
  /** A name of this device for the log that the cursor is of. */
  log?: string;
  /** Counts the batches of restarts, which have no cursor of their own. So it shows what RxDB has stored of them. */
  batch?: number;
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
   * answers that push with the newest state. But RxDB may store an answer from before late, or the server may refuse
   * the edit without a look at the document.
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
    const found = await this.#find(ids);
    return new Map(found.map((document) => [String(document[this.idField]), this.#plain(document)]));
  }

  /** A document that is written meanwhile may have a newer state than the assumed one, never an older one. */
  async documents(ids: string[]): Promise<Map<string, LocalDocument>> {
    const replication = this.#state();
    this.#identifierHash ??= replication.input.hashFunction(replication.input.identifier);
    const hash = await this.#identifierHash;
    const assumed = await getAssumedMasterState(replication, ids);
    return new Map((await this.#find(ids)).map((document) => {
      const id = String(document[this.idField]);
      const state = this.#plain(document);
      const height = getHeightOfRevision(document._rev);
      // RxDB stores what it assumes after a pulled document, and not at all if it only pulls. It marks what it has
      // pulled, but the mark of a new document does not reach the storage. The hidden field shows that it was pulled.
      const { o: origin } = document._meta;
      const isMarked = origin?.hash === hash && origin._rev === height;
      const isNew = !assumed[id] && height === 1 && state[HIDDEN]?.id === id;
      const isKnown = isMarked || isNew || (replication.skipStoringPullMeta && state[HIDDEN] !== undefined);
      const master = isKnown ? state : (assumed[id]?.docData as State | undefined);
      return [id, { id, state, assumed: master, isDirty: !master || !isSame(master, state) }];
    }));
  }

  /**
   * Notes the server's state of documents for which RxDB has not done so, because the device was switched off after it
   * had stored them. RxDB takes such a document for an edit and never stores a newer state of it.
   */
  async noteAssumed(ids: string[]): Promise<void> {
    const replication = this.#state();
    if (replication.skipStoringPullMeta || ids.length === 0) return;
    const noted = await getAssumedMasterState(replication, ids);
    const others = await this.documents(ids.filter((id) => !noted[id]));
    const pulled = [...others.values()].filter(({ isDirty }) => !isDirty);
    if (pulled.length === 0) return;
    const rows = await Promise.all(pulled.map(({ state }) => getMetaWriteRow(replication, state as any)));
    await replication.input.metaInstance.bulkWrite(rows, "syncflow-note-assumed");
  }

  /** The skipped states of documents that have no edit any more: RxDB takes them now. */
  async missed(): Promise<State[]> {
    const skipped = [...this.skipped];
    if (skipped.length === 0) return [];
    const documents = await this.documents(skipped.map(([id]) => id));
    return skipped.flatMap(([id, state]) => {
      const document = documents.get(id);
      if (document?.isDirty || this.skipped.get(id) !== state) return [];
      if (!document || !deepEqual(document.assumed?.[HIDDEN], state[HIDDEN])) return [state];
      this.skipped.delete(id);
      return [];
    });
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
    const hidden = hiddenOf(change.docId, { rev: change.rev ?? 0, vectorClock: change.vectorClock }, log);
    const id = { [this.idField]: change.docId };
    if (change.type !== "delete") return { ...change.data, ...id, _deleted: false, [HIDDEN]: hidden };
    // The schema may require fields that a tombstone does not have. A document that was never here need not go.
    return known ? { ...known, ...id, _deleted: true, [HIDDEN]: hidden } : undefined;
  }

  /** Whether RxDB has stored all that came up to a checkpoint. */
  hasStored(checkpoint: Checkpoint | undefined): boolean {
    const stored = this.replication()?.lastCheckpointDoc.down?.checkpointData as Checkpoint | undefined;
    return stored?.cursor === checkpoint?.cursor && stored?.batch === checkpoint?.batch;
  }

  /** Stores a checkpoint that came without documents, which RxDB does not. */
  async storeCheckpoint(checkpoint: Checkpoint): Promise<void> {
    await setCheckpoint(this.#state(), "down", checkpoint);
  }

  async #find(ids: string[]): Promise<any[]> {
    return this.collection.storageInstance.findDocumentsById(ids, true);
  }

  #plain(document: any): State {
    return withoutForeign(String(document[this.idField]), writeDocToDocState(document, false, false) as any);
  }

  #state(): RxStorageInstanceReplicationState<any> {
    const state = this.replication();
    if (!state) throw new Error("the replication has not started");
    return state;
  }
}
