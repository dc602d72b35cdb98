import {
  getDefaultRevision,
  getDefaultRxDocumentMeta,
  getPrimaryKeyOfInternalDocument,
  getSingleDocument,
  type RxDatabase,
  writeSingle,
} from "rxdb/plugins/core";

const KEY = "syncflow";
const CONTEXT = "OTHER";
/** Operations whose effect no pull has shown. With more on their way at once, some would be unknown after a reload. */
export const SENT_MAX = 500;

/** An operation on its way. */
export interface Sent {
  id: string;
  collection: string;
  docId: string;
  /** This device's counter in its clock. It is left out if the server has made it and has not said which one. */
  counter?: number | undefined;
  /** It has what others wrote too, which the local document does not have yet. */
  isMerged?: boolean;
}

interface Noted {
  collection: string;
  docId: string;
}

/** What a local database keeps about itself. */
interface Kept {
  clientId: string;
  /** The operations that were sent, and that no pull has shown yet. */
  sent: Sent[];
  /** See {@link Identity.note}. */
  removed?: Noted[];
  skipped?: Noted[];
  /** The subject whose data this is. */
  subject?: string;
}

/** Who this local database is for the server. It is removed together with the database. */
export class Identity {
  #sent = new Map<string, Sent>();
  /** Whether more is known about the operations than what is stored. */
  #isStale = false;

  private constructor(readonly database: RxDatabase, private kept: Kept) {}

  static async open(database: RxDatabase): Promise<Identity> {
    const fresh: Kept = { clientId: crypto.randomUUID(), sent: [] };
    const identity = new Identity(database, fresh);
    await identity.#update((kept) => kept);
    identity.#sent = new Map(identity.kept.sent.map((sent) => [sent.id, sent]));
    return identity;
  }

  get clientId(): string {
    return this.kept.clientId;
  }

  /** Notes operations before they are sent: the device may be switched off before the answer comes. */
  async sending(operations: readonly Sent[]): Promise<void> {
    for (const { id, collection, docId, counter, isMerged = false } of operations) {
      this.#sent.set(id, { id, collection, docId, isMerged, ...(counter === undefined ? {} : { counter }) });
    }
    await this.#store();
  }

  /** Notes which counter an operation has. */
  counted(id: string, counter: number): void {
    const sent = this.#sent.get(id);
    if (!sent) return;
    this.#sent.set(id, { ...sent, counter });
    this.#isStale = true;
  }

  /** Forgets operations that had no effect, or whose effect a pull has shown. */
  settled(ids: Iterable<string>): void {
    for (const id of ids) if (this.#sent.delete(id)) this.#isStale = true;
  }

  /** Stores what is known, so that a settled operation is not taken for an unsettled one after a reload. */
  async persist(): Promise<void> {
    if (this.#isStale) await this.#store();
  }

  /**
   * Whether an operation is one of this database that no pull has shown yet, and has nothing that the local document
   * lacks. The client id would not say that: a copy of the database on another device has it too.
   */
  includes(operationId: string): boolean {
    const sent = this.#sent.get(operationId);
    return sent !== undefined && !sent.isMerged;
  }

  /** The greatest counter of these operations, apart from one of them. It is infinite if one of them is unknown. */
  usedCounter(operationIds: readonly string[], except?: string): number {
    const sent = operationIds.filter((id) => id !== except).flatMap((id) => this.#sent.get(id) ?? []);
    return Math.max(0, ...sent.map(({ counter = Infinity }) => counter));
  }

  /** The operations on the documents of a collection that no pull has shown yet, by their documents. */
  sentOf(collection: string): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const sent of this.#sent.values()) {
      if (sent.collection === collection) found.set(sent.docId, [...(found.get(sent.docId) ?? []), sent.id]);
    }
    return found;
  }

  /**
   * Notes documents whose newest state no pull may bring.
   *
   * - `removed`: they left this device because the server forbade a write. The user may see them again before a pull
   *   has noticed that this was not so for a while.
   * - `skipped`: a state was pulled that RxDB has left out, because the document has an edit that was not pushed.
   */
  async note(list: "removed" | "skipped", collection: string, docIds: readonly string[]): Promise<void> {
    const known = new Set(this.noted(list, collection));
    const more = docIds.filter((docId) => !known.has(docId)).map((docId) => ({ collection, docId }));
    if (more.length > 0) await this.#update((kept) => ({ ...kept, [list]: [...(kept[list] ?? []), ...more] }));
  }

  /** The noted documents of a collection that were not forgotten since. */
  noted(list: "removed" | "skipped", collection: string): string[] {
    return (this.kept[list] ?? []).filter((one) => one.collection === collection).map(({ docId }) => docId);
  }

  /** Forgets noted documents: the device has been told of them, whether they are there or not. */
  async forget(list: "removed" | "skipped", collection: string, docIds: Iterable<string>): Promise<void> {
    const told = new Set(docIds);
    const isTold = (one: Noted) => one.collection === collection && told.has(one.docId);
    if (!this.kept[list]?.some(isTold)) return;
    await this.#update((kept) => ({ ...kept, [list]: (kept[list] ?? []).filter((one) => !isTold(one)) }));
  }

  /** Notes whose data this is. Returns false if it is somebody else's. */
  async belongsTo(subject: string): Promise<boolean> {
    if (this.kept.subject === undefined) await this.#update((kept) => ({ subject, ...kept }));
    return this.kept.subject === subject;
  }

  async #store(): Promise<void> {
    this.#isStale = false;
    // Another push may note its operations while this one is written.
    await this.#update((kept) => ({ ...kept, sent: [...this.#sent.values()].slice(-SENT_MAX) }));
  }

  /** Changes what is kept, on top of what another tab may have written meanwhile. */
  async #update(change: (kept: Kept) => Kept): Promise<void> {
    const store = this.database.internalStore as any;
    const id = getPrimaryKeyOfInternalDocument(KEY, CONTEXT);
    for (;;) {
      const previous = await getSingleDocument<any>(store, id);
      const data = change((previous?.data as Kept | undefined) ?? this.kept);
      const document = {
        id,
        key: KEY,
        context: CONTEXT,
        data,
        _deleted: false,
        _attachments: {},
        _meta: getDefaultRxDocumentMeta(),
        _rev: getDefaultRevision(),
      };
      try {
        await writeSingle<any>(store, previous ? { previous, document } : { document }, "syncflow-identity");
        this.kept = data;
        return;
      } catch (error) {
        if ((error as { status?: number }).status !== 409) throw error;
      }
    }
  }
}
