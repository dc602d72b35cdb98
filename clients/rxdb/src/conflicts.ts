import { type RxCollection, type RxConflictHandler, type RxConflictHandlerInput, deepEqual } from "rxdb/plugins/core";
import { HIDDEN, isSame, type State } from "./hidden.js";

const wrapped = new WeakSet<RxConflictHandler<any>>();

/** Lets the collection's own conflict handler decide about what is a conflict for the application, and nothing else. */
export function prepareConflictHandler(collection: RxCollection): void {
  if (wrapped.has(collection.conflictHandler)) return;
  const handler = wrap(collection.conflictHandler);
  wrapped.add(handler);
  collection.conflictHandler = handler;
}

function wrap(own: RxConflictHandler<any>): RxConflictHandler<any> {
  return {
    isEqual(a, b, context) {
      // A pulled document is written if only its revision is new: the next push starts from that. RxDB asks this only
      // about documents without an edit that is not pushed yet.
      if (context === "downstream-check-if-equal-1" && !deepEqual(a[HIDDEN], b[HIDDEN])) return false;
      if (a._deleted || b._deleted) return isSame(a, b);
      return isSame(a, b) || own.isEqual(bare(a), bare(b), context);
    },
    async resolve(input, context) {
      const { realMasterState: master, newDocumentState: fork, assumedMasterState: assumed } = input;
      const keep = (state: State): State => ({ ...state, [HIDDEN]: settledHidden(master) });
      if ((master as State)[HIDDEN]?.settled || isSame(master, fork)) return keep(master);
      // Others have written, and have put back what was there before.
      if (assumed && isSame(master, assumed)) return keep(fork);
      return keep(await own.resolve(input, context));
    },
  };
}

/** Asks the handler about a conflict that RxDB does not know of. */
export async function resolve(collection: RxCollection, input: RxConflictHandlerInput<any>): Promise<State> {
  return collection.conflictHandler.resolve(input, "syncflow-reset");
}

function settledHidden(master: State) {
  const { settled: _, ...hidden } = master[HIDDEN] ?? { rev: 0, clock: {} };
  return hidden;
}

function bare(state: State): State {
  const { [HIDDEN]: _, ...rest } = state;
  return rest as State;
}
