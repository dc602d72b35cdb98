export { type ClientOptions, type PullRequest, SyncflowClient } from "./client.js";
export { CursorGone, SyncflowError } from "./errors.js";
export type { HttpOptions } from "./http.js";
export { type Coordination, lead } from "./leader.js";
export * from "./protocol.js";
export type { PushOptions, PushRequest } from "./push.js";
export type { Token } from "./tokens.js";
export { Wakeups, type WakeupOptions, type WakeupTarget } from "./wakeups.js";
