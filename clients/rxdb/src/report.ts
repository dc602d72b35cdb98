import type { RxConflictHandlerInput } from "rxdb/plugins/core";
import { Subject } from "rxjs";
import type { State } from "./hidden.js";

/** A write that the server does not take. It stays on this device until it is changed, or until the server's comes. */
export interface RefusedWrite {
  document: State;
  /** The fields at fault, as the server names them; empty if the user may not make the write. */
  fields: readonly string[];
  message: string;
}

/** A write that is no longer part of the document, or only in part. */
export interface LostWrite {
  /** The state that was written here. */
  document: State;
  /** The state that the document has now. */
  current: State;
}

/** Tells the application what RxDB has no word for. */
export class Report {
  readonly refused = new Subject<RefusedWrite>();
  readonly lost = new Subject<LostWrite>();
  readonly conflict: (input: RxConflictHandlerInput<any>, output: State) => void;

  constructor(conflict: (input: RxConflictHandlerInput<any>, output: State) => void) {
    this.conflict = conflict;
  }

  close(): void {
    this.refused.complete();
    this.lost.complete();
  }
}
