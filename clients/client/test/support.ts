import type { Change, Edit, PullRequest, SyncflowClient } from "../src/index.js";

/** Pauses that do not slow tests down. */
export const fast = { minMs: 1, maxMs: 10 };

/** An insert by an author who knows of no such document. */
export function edit(collection: string, docId: string, data: Record<string, unknown>): Edit {
  return { type: "insert", collection, docId, data, base: null };
}

/** All that a pull gets. */
export async function everything(client: SyncflowClient, request: PullRequest): Promise<Change[]> {
  const changes: Change[] = [];
  for await (const page of client.pull(request)) changes.push(...page.operations);
  return changes;
}
