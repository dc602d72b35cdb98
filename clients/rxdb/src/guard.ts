import type { RxCollection } from "rxdb/plugins/core";
import { HIDDEN } from "./hidden.js";

const guarded = new WeakSet<RxCollection>();

/**
 * Keeps an application from writing the hidden field. A document that it inserts is a new one, also if it is a copy of
 * another one or comes from an export. An upsert without the field changes the document that is there.
 */
export function guardHidden(collection: RxCollection): void {
  if (guarded.has(collection)) return;
  guarded.add(collection);
  collection.preInsert((document: any) => {
    delete document[HIDDEN];
  }, true);
  collection.preSave((document: any, before: any) => {
    if (before?.[HIDDEN] === undefined) delete document[HIDDEN];
    else document[HIDDEN] = before[HIDDEN];
  }, true);
}
