export type { Token } from "@syncflow-server/client";
export { HIDDEN, type Hidden, type State, withSyncflow } from "./hidden.js";
export type { Checkpoint } from "./local.js";
export { logout, replicateSyncflow, type SyncflowOptions, type SyncflowReplication } from "./replicate.js";
export type { LostWrite, RefusedWrite } from "./report.js";
