/** An answer that would be the same if the request were sent again. */
export class SyncflowError extends Error {
  override readonly name: string = "SyncflowError";

  constructor(
    readonly status: number,
    /** The kind of the error, such as `expired`. */
    readonly kind: string,
    message: string,
    /** The faulty fields of the request. */
    readonly fields: readonly string[] = [],
  ) {
    super(message);
  }
}

/** A cursor that the server no longer knows. The client starts from nothing. */
export class CursorGone extends SyncflowError {
  override readonly name = "CursorGone";
  /** Whether operations of the push may have taken effect in the log that is gone, with counters that are unknown. */
  mayHaveTakenEffect = false;

  constructor(
    kind: string,
    message: string,
    /**
     * `reset`: the log is another one, because the database was restored; the client may hold what the server lost.
     * `view`: the reader may see other documents than before.
     */
    readonly reason: "reset" | "view",
  ) {
    super(410, kind, message);
  }
}

/** The error that an answer with a status of 400 or more stands for. */
export function errorOf(status: number, body: unknown): SyncflowError {
  const { error, message, fields, reason } = (body ?? {}) as Record<string, unknown>;
  const kind = typeof error === "string" ? error : `HTTP ${status}`;
  const text = typeof message === "string" ? message : kind;
  if (status === 410) return new CursorGone(kind, text, reason === "view" ? "view" : "reset");
  return new SyncflowError(status, kind, text, Array.isArray(fields) ? fields.map(String) : []);
}
