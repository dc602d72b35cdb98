// Made from the server's /openapi.json by `npm run generate`; not edited by hand.

/** A process that answers. */
export type Alive = {
  status: string;
};

/** A page of changes. */
export type ChangesAnswer = {
  /** Always empty. */
  conflicts: (Operation)[];
  /** The cursor of the next page. Left out if the request had neither a cursor nor a `clientId`. */
  cursor?: string;
  /** Whether there is more, so that the client should send the next request at once. */
  hasMore: boolean;
  operations: (PulledOperation)[];
  /** How many seconds a client waits before it asks again. Left out if the server has other ways to tell it. */
  pollAfterSeconds?: number;
};

/** The changes that a client requests. With the key `cursor`, `since` is ignored. */
export type ChangesRequest = {
  as?: "operations" | "documents";
  /** The client. With it, a client that knows only `since` misses nothing. */
  clientId?: Name;
  /** With `"as":"documents"`: the only collections whose documents the client wants. */
  collections?: (Name)[];
  /** The cursor of the last answer; `null` or empty for a client that has nothing. With `now` a client only hears of later changes. */
  cursor?: string | null;
  /** The most operations on the page; more than 1,000 means 1,000. */
  limit?: number;
  /** With `cursor`: whether each resolution says what was resolved. For the roles `admin` and `service`. */
  resolutions?: boolean;
  /** The greatest `timestamp` of the last page that the client applied. */
  since?: number;
  /** With `cursor`: whether each operation has the subject that pushed it. For the roles `admin` and `service`. */
  subjects?: boolean;
  /** Ignored: the cursor, or the client's id and `since`, say what a client has. */
  vectorClock?: Record<string, unknown>;
  /** With `cursor`: for how many seconds the answer may wait for changes if there are none. */
  wait?: number;
};

/** A page of clients. */
export type Clients = {
  clients: (KnownClient)[];
  /** The `after` of the next page; `null` if there is none. */
  next: string | null;
};

/** The page of clients that is wanted. */
export type ClientsRequest = {
  /** The `next` of the last answer. */
  after?: Name;
  /** The most clients on the page; more than 1,000 means 1,000. */
  limit?: number;
};

/** The entries to remove from the log. */
export type CompactRequest = {
  /** The age from which on entries are removed, in days. */
  olderThanDays?: number;
};

/** The result of a compaction. */
export type Compacted = {
  /** The number of entries that were removed from the log. */
  deletedCount: number;
  /** Whether entries are left for which the request had no time. */
  hasMore: boolean;
  message: string;
};

/** An operation as it was sent, but with the server's `data` (`null` if the document is deleted) and `vectorClock`. */
export type Conflict = (Made) & ({
  conflict: ConflictDetails;
  data: Record<string, unknown> | null;
  /** Whether the operation was sent with the value true. */
  synced: boolean;
  type: OperationType;
  /** The vector clock of the server's document. */
  vectorClock: Record<string, Counter>;
});

/** The relation of the operation to the server's document. */
export type ConflictDetails = {
  /** The author of that operation. */
  clientId?: string;
  /** Whether the document is deleted. */
  deleted?: boolean;
  /** The operation that wrote the document last. */
  operationId?: string;
  relation: Relation;
  /** The document's revision. It is missing, as all that follows, if the client may not see the document. */
  rev?: number;
  /** The time of that operation by its author's clock. */
  timestamp?: number;
};

/** The number of a client's operations that were seen. */
export type Counter = number;

/** An operation that deletes its document. */
export type Delete = (Made) & (Seen) & ({
  /** Ignored. */
  data?: unknown;
  /** Ignored; clients use it themselves. */
  synced?: unknown;
  type: DeleteType;
});

/** The effect of a delete on its document. */
export type DeleteType = "delete";

/** A document: its data, and the keys of the server. */
export type Document = {
  /** The vector clock of the document, if the request asks for clocks. Otherwise a key of the data. */
  _clock?: unknown;
  _id: string;
  /** The number of operations that were applied to it. */
  _rev: number;
} & Record<string, unknown>;

/** The JSON of every error. */
export type Error = {
  /** The tombstone of a deleted document, if the request asks for clocks. */
  deleted?: Tombstone;
  /** The kind of the error. The text is the same for all errors of a kind. */
  error: string;
  /** The names of the faulty fields, if the error is about fields; at most 20. */
  fields?: (string)[];
  /** The fault of this request, as a text for people. */
  message: string;
  /** Why the client must start again from nothing, if it must. */
  reason?: string;
};

/** A server whose store can be reached. */
export type Healthy = {
  /** The store that is used. */
  adapter: string;
  status: string;
};

/** A client that pulls. */
export type KnownClient = {
  /** The number of operations that were accepted after those that the client has pulled. */
  behind: number;
  clientId: string;
  /** When it pulled last, in milliseconds since 1970; up to an hour earlier if there was nothing to pull. */
  seenAt: number;
};

/** The document of an operation, its author and its time. Its `id` is never used for another operation. */
export type Made = {
  clientId: Name;
  collection: Name;
  docId: Name;
  id: Name;
  /** The time of the operation by the client's clock. */
  timestamp: number;
};

/** A name: 1 to 256 bytes of UTF-8 without control characters. */
export type Name = string;

/** A server that takes no requests now. */
export type NotReady = {
  error: string;
  message: string;
  /** Left out if the server is too busy to answer. */
  status?: string;
};

/** One insert, update or delete of one document, made by one client. Further keys are kept in the answer and ignored. */
export type Operation = (Write) | (Delete);

/** The effect of an operation on its document. */
export type OperationType = "insert" | "update" | "delete";

/** An operation as a pull returns it. */
export type PulledOperation = {
  clientId: string;
  collection: string;
  /** The bytes that were pushed; `null` for a delete. */
  data: Record<string, unknown> | null;
  docId: string;
  id: string;
  /** True if the client must remove the document, because it may no longer see it. */
  removed?: boolean;
  /** With `"resolutions":true`: the outcome of a conflict, the relation of the clocks, the winner, and the operation if a part of it is lost. */
  resolution?: Record<string, unknown>;
  /** With `"as":"documents"`: the number of operations that were applied to the document. */
  rev?: number;
  /** With `"subjects":true`: the subject that pushed the operation, if the log has it. */
  subject?: string;
  /** Always true. */
  synced: boolean;
  timestamp: number;
  type: OperationType;
  vectorClock: Record<string, Counter>;
};

/** The outcomes of pushed operations. Each operation is in one of the lists. */
export type PushAnswer = {
  /** Operations that took effect, now or in an earlier push, exactly as they were sent. */
  accepted: (Operation)[];
  /** Operations whose author had not seen the document's current state. They changed nothing. */
  conflicts: (Conflict)[];
  /** The place in the log up to which the revisions in this answer are known. Only for a push with the key `cursor`. */
  place?: string;
  /** Operations that are at fault, and those that may build on them, in the order of the push. They changed nothing. Only for a partial push. */
  refused?: (RefusedOperation)[];
  /** Accepted operations whose author had not seen the document's content, if the server has resolved conflicts. */
  resolved?: (ResolvedOperation)[];
  /** The revisions to which accepted operations with a `baseRev` have led, as far as they are still those of their documents. Only for a push with the key `cursor`. */
  revisions?: (ReachedRevision)[];
};

/** The operations of a client. */
export type PushRequest = {
  clientId: Name;
  /** The cursor of the pull from which the client knows the revisions in `baseRev`; `null` if it has pulled nothing. */
  cursor?: string | null;
  operations: (Operation)[];
  /** Whether operations that are at fault stop only the later ones on their documents. All of these are answered in `refused`. */
  partial?: boolean;
  /** The `place` of the answer to an earlier push from which the client knows some of these revisions. */
  place?: string | null;
  /** Whether an operation is in conflict if its author's counter is not greater than in the document's clock. */
  strict?: boolean;
};

/** A page of documents, newest first by their last operations, or sorted. */
export type QueryAnswer = {
  /** How many documents this page has. */
  count: number;
  /** The cursor of the next page; `null` if there is no more. */
  cursor: string | null;
  documents: (Document)[];
  /** Whether more documents match. */
  hasMore: boolean;
};

/** The documents of a collection that a client requests. */
export type QueryRequest = {
  /** Whether the documents have their vector clocks. */
  clock?: boolean;
  /** The cursor of the last answer; `null` or empty to start with the newest document. */
  cursor?: string | null;
  /** Paths (keys with dots between them) and the values that are expected there, or objects of operators; `$and`, `$or` and `$not`. At most 100 conditions. All documents without it. */
  filter?: Record<string, unknown>;
  /** The most documents on the page; more than 1,000 means 1,000. */
  limit?: number;
  /** One path: 1 for its smallest value first, -1 for its greatest. Without it the newest document comes first. */
  sort?: Record<string, number>;
};

/** The revision to which an operation has led. */
export type ReachedRevision = {
  /** The id of the operation. */
  id: string;
  /** The entries of the document's clock that that of the revision in `baseRev` does not have, or has with a smaller counter. */
  raised: Record<string, Counter>;
  rev: number;
};

/** An operation of a partial push that is at fault. */
export type RefusedOperation = {
  /** The fields at fault, named from the operation on. Empty if the operation as a whole is refused. */
  fields: (string)[];
  /** Its id, if it has a valid one. */
  id?: string;
  /** Its index in the push. */
  index: number;
  message: string;
};

/** The relation of the operation's vector clock to the document's, or that the client may not do this. */
export type Relation = "happens-before" | "concurrent" | "forbidden";

/** A conflict that the server has resolved. */
export type ResolvedOperation = {
  /** The id of the operation. */
  id: string;
  /** The values of the operation that did not survive. Left out if there are none, or if the answer would become too large. */
  lost?: Record<string, unknown>;
  /** The id of the operation that resolves the conflict, and that a pull returns instead. */
  operation: string;
  outcome: ResolvedOutcome;
};

/** Whether all, nothing or a part of an operation survived. */
export type ResolvedOutcome = "won" | "lost" | "merged";

/** The state of the document that the author had seen. An operation has exactly one of both. */
export type Seen = {
  /** The revision of the document that the client had seen; 0 if there was none. Above 0, the push needs `cursor`. */
  baseRev?: number;
  /** All that the client had seen, this operation included: a counter for each client, at most 10,000 clients and 256 KiB. */
  vectorClock?: Record<string, Counter>;
};

/** The statistics of a tenant. */
export type Statistics = {
  /** The number of documents that are not deleted. */
  totalDocuments: number;
  /** The number of entries in the log. */
  totalOperations: number;
  /** The number of entries in the log that at least one client has not pulled yet, of those that pulled in the last 30 days. */
  unsyncedOperations: number;
};

/** A deleted document. An operation that has seen this clock writes over it. */
export type Tombstone = {
  /** The number of operations that were applied to the document, with the one that deleted it. */
  rev: number;
  vectorClock: Record<string, number>;
};

/** A server whose store cannot be reached. */
export type Unhealthy = {
  /** The store that is used. Left out together with `status`. */
  adapter?: string;
  error: string;
  message: string;
  /** Left out if the server is too busy to ask its store. */
  status?: string;
};

/** An operation that gives its document data. */
export type Write = (Made) & (Seen) & ({
  /** At most 1 MiB and 64 levels deep. */
  data: Record<string, unknown>;
  /** Ignored; clients use it themselves. */
  synced?: unknown;
  type: WriteType;
});

/** The effect of a write on its document. */
export type WriteType = "insert" | "update";
