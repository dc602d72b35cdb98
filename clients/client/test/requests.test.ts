import assert from "node:assert/strict";
import { test } from "node:test";
import { pauseMs, retryAfterMs } from "../src/backoff.js";
import { CursorGone, SyncflowClient, SyncflowError } from "../src/index.js";
import { relate } from "../src/protocol.js";
import { expiryMs } from "../src/tokens.js";
import { edit, fast } from "./support.js";

type Answer = { status?: number; body?: unknown; headers?: Record<string, string> };

/** A server that gives these answers, one after the other, and keeps the requests. */
function scripted(...answers: Answer[]) {
  const requests: { body: any; authorization: string | null }[] = [];
  const send: typeof fetch = async (_, init) => {
    const body = JSON.parse(String(init?.body));
    requests.push({ body, authorization: new Headers(init?.headers).get("authorization") });
    const { status = 200, body: answer = {}, headers = {} } = answers.shift() ?? assert.fail("one request too many");
    return new Response(JSON.stringify(answer), { status, headers });
  };
  return { requests, send };
}

const emptyPage = { body: { operations: [], conflicts: [], cursor: "l.0.0", hasMore: false } };

function token(expiresInMs: number, mark: string): string {
  const payload = { exp: (Date.now() + expiresInMs) / 1000, mark };
  return `head.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.signature`;
}

test("a token is asked for before it expires, and not before that", async () => {
  const { requests, send } = scripted(emptyPage, emptyPage, emptyPage);
  const tokens = [token(100, "first"), token(3_600_000, "second")];
  let asked = 0;
  const source = () => tokens[asked++] ?? assert.fail("asked too often");
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send, token: source });
  await client.pullPage({ cursor: null });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await client.pullPage({ cursor: null });
  await client.pullPage({ cursor: null });
  assert.equal(asked, 2);
  assert.equal(requests[2]?.authorization, `Bearer ${tokens[1]}`);
});

test("requests at the same time share one call for a token", async () => {
  const { send } = scripted(emptyPage, emptyPage);
  let asked = 0;
  const client = new SyncflowClient({
    url: "http://x", clientId: "a", fetch: send, token: async () => `token-${asked++}`,
  });
  await Promise.all([client.pullPage({ cursor: null }), client.pullPage({ cursor: null })]);
  assert.equal(asked, 1);
});

test("a 401 asks for another token once, and is an error after that", async () => {
  const refused = { status: 401, body: { error: "expired", message: "The token has expired" } };
  const { requests, send } = scripted(refused, emptyPage, refused, refused);
  let asked = 0;
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send, token: () => `token-${asked++}` });
  await client.pullPage({ cursor: null });
  assert.deepEqual(requests.map((request) => request.authorization), ["Bearer token-0", "Bearer token-1"]);
  await assert.rejects(client.pullPage({ cursor: null }), (error: SyncflowError) => error.kind === "expired");
});

test("the expiry of a token is read without its key, and a token that is no JWT has none", () => {
  assert.ok((expiryMs(token(60_000, "ä")) ?? 0) > Date.now());
  assert.equal(expiryMs("static-token"), undefined);
  assert.equal(expiryMs("a.b.c"), undefined);
});

test("a busy server is asked again with the same ids, and not before it wants", async () => {
  const busy = { status: 503, headers: { "retry-after": "1" } };
  const { requests, send } = scripted(busy, busy, { body: { accepted: [], conflicts: [], refused: [] } });
  const pauses: number[] = [];
  const client = new SyncflowClient({
    url: "http://x", clientId: "a", fetch: send, backoff: fast, onRetry: (_, pause) => pauses.push(pause),
  });
  await client.push([edit("todos", "one", {})]);
  const ids = requests.map((request) => request.body.operations[0].id);
  assert.equal(new Set(ids).size, 1);
  assert.ok(pauses.length === 2 && pauses.every((pause) => pause >= 1000));
});

test("an error that would come again is thrown at once", async () => {
  const { requests, send } = scripted({ status: 507, body: { error: "Quota", message: "full" } });
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send });
  await assert.rejects(client.push([edit("todos", "one", {})]), (error: SyncflowError) => error.status === 507);
  assert.equal(requests.length, 1);
});

test("pauses grow, stay below their limit and differ", () => {
  const backoff = { minMs: 100, maxMs: 1_000 };
  const pauses = Array.from({ length: 20 }, (_, attempt) => pauseMs(backoff, attempt));
  assert.ok(pauses.every((pause, attempt) => pause >= Math.min(1_000, 100 * 2 ** attempt) / 2 && pause <= 1_000));
  assert.ok(new Set(pauses).size > 10);
  assert.equal(retryAfterMs("3"), 3000);
  assert.equal(retryAfterMs("nonsense"), 0);
  assert.equal(retryAfterMs(new Date(Date.now() - 5_000).toUTCString()), 0);
});

test("a server that knows baseRev gets it, with the revision after each accepted edit", async () => {
  const accepted = (id: string, rev: number, raised: Record<string, number>) => ({
    body: { accepted: [{ id }], conflicts: [], refused: [], revisions: [{ id, rev, raised }], place: `place-${id}` },
  });
  const { requests, send } = scripted(accepted("1", 8, { a: 100 }), accepted("2", 9, { a: 101 }));
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send, batchMaxOperations: 1 });
  const base = { rev: 7, vectorClock: { b: 3 } };
  const edits = ["1", "2"].map((id) => ({ ...edit("todos", "one", {}), id, base }));
  const { accepted: outcome } = await client.push(edits, { cursor: "here" });
  const operations = requests.map((request) => request.body.operations[0]);
  assert.deepEqual(operations.map((operation) => operation.baseRev), [7, 8]);
  assert.deepEqual(requests.map(({ body }) => [body.cursor, body.place]), [["here", undefined], ["here", "place-1"]]);
  assert.deepEqual(operations.map((operation) => operation.vectorClock), [undefined, undefined]);
  assert.equal(outcome[1]?.base.rev, 9);
  assert.deepEqual(outcome[1]?.base.vectorClock, { b: 3, a: 101 });
});

test("edits of one document in one request name the revision that the first of them saw", async () => {
  const ids = ["1", "2"];
  const revisions = ids.map((id, index) => ({ id, rev: 8 + index, raised: { a: 100 + index } }));
  const { requests, send } = scripted({
    body: { accepted: ids.map((id) => ({ id })), conflicts: [], refused: [], revisions, place: "place" },
  });
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send });
  const base = { rev: 7, vectorClock: { b: 3 } };
  const edits = ids.map((id) => ({ ...edit("todos", "one", {}), id, base: id === "1" ? base : null }));
  const { accepted } = await client.push(edits, { cursor: "here" });
  assert.deepEqual(requests[0]?.body.operations.map(({ baseRev }: any) => baseRev), [7, 7]);
  assert.deepEqual(accepted.map(({ base, counter }) => [base.rev, base.vectorClock, counter]), [
    [8, { b: 3, a: 100 }, 100],
    [9, { b: 3, a: 101 }, 101],
  ]);
});

test("an edit that took effect before, and that others have replaced, has no known counter and no revision", async () => {
  const known = { body: { accepted: [{ id: "1" }], conflicts: [], refused: [], revisions: [], place: "place" } };
  const { requests, send } = scripted(known, known);
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send });
  const first = { ...edit("todos", "one", {}), id: "1", base: { rev: 7, vectorClock: { b: 3 } } };
  const { accepted } = await client.push([first], { cursor: "here" });
  assert.equal(accepted[0]?.counter, undefined);
  await client.push([{ ...first, base: accepted[0]!.base }], { cursor: "here" });
  assert.deepEqual(requests.map(({ body }) => "baseRev" in body.operations[0]), [true, false]);
});

test("after a 410 to a push, revisions of answers before it are not used any more", async () => {
  const accepted = (id: string) => ({
    body: { accepted: [{ id }], conflicts: [], refused: [], revisions: [{ id, rev: 8, raised: { a: 100 } }], place: "place" },
  });
  const gone = { status: 410, body: { error: "Cursor gone", message: "reset", reason: "reset" } };
  const { requests, send } = scripted(accepted("1"), gone, accepted("2"));
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send });
  const first = { ...edit("todos", "one", {}), id: "1", base: { rev: 7, vectorClock: { b: 3 } } };
  const { accepted: outcome } = await client.push([first], { cursor: "here" });
  const second = { ...first, id: "2", base: outcome[0]!.base };
  // Both are on their way when the first of them learns of the other log.
  const pushes = [client.push([second], { cursor: "here" }), client.push([second], { cursor: "here" })];
  for (const push of pushes) await assert.rejects(push, CursorGone);
  await client.push([second], { cursor: "here" });
  const { baseRev, vectorClock } = requests[2]?.body.operations[0];
  assert.deepEqual([requests.length, baseRev, vectorClock, requests[2]?.body.place], [3, undefined, { b: 3, a: 101 }, undefined]);
});

test("a push that waits for another one ends when it is aborted", async () => {
  const send: typeof fetch = (_, init) =>
    new Promise((_, failed) => init?.signal?.addEventListener("abort", () => failed(init.signal?.reason)));
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send });
  const [first, second] = [new AbortController(), new AbortController()];
  const pushes = [first, second].map(({ signal }) => client.push([edit("todos", "one", {})], { signal }));
  second.abort();
  await assert.rejects(pushes[1]!, { name: "AbortError" });
  first.abort();
  await assert.rejects(pushes[0]!, { name: "AbortError" });
});

test("a server that asks for a clock gets one, and is not asked about baseRev again", async () => {
  const refused = { body: { accepted: [], conflicts: [], refused: [{ index: 0, fields: ["vectorClock"], message: "" }] } };
  const accepted = { body: { accepted: [{ id: "1" }], conflicts: [], refused: [] } };
  const { requests, send } = scripted(refused, accepted, accepted);
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send });
  const edits = [{ ...edit("todos", "one", {}), id: "1", base: { rev: 1, vectorClock: { a: 2, b: 1 } } }];
  const push = () => client.push(edits, { cursor: "here" });
  await push();
  await push();
  const operations = requests.map((request) => request.body.operations[0]);
  assert.deepEqual(operations.map((operation) => operation.vectorClock), [undefined, { a: 3, b: 1 }, { a: 3, b: 1 }]);
});

test("a forbidden edit is a conflict without a document", async () => {
  const conflict = { id: "1", conflict: { relation: "forbidden" } };
  const resolved = [{ id: "2", operation: "r", outcome: "lost", lost: { title: "x" } }];
  const { send } = scripted({ body: { accepted: [{ id: "2" }], conflicts: [conflict], refused: [], resolved } });
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch: send });
  const edits = [{ ...edit("todos", "one", {}), id: "1" }, { ...edit("todos", "two", {}), id: "2" }];
  const result = await client.push(edits);
  assert.deepEqual(result.conflicts, [{ index: 0, id: "1", relation: "forbidden" }]);
  assert.deepEqual(result.resolved, resolved);
});

test("clocks compare as the protocol says", () => {
  assert.equal(relate({ a: 1 }, { a: 1, b: 0 }), "equal");
  assert.equal(relate({ a: 1 }, { a: 1, b: 1 }), "happens-before");
  assert.equal(relate({ a: 2 }, { b: 1 }), "concurrent");
  assert.equal(relate({ a: 2, b: 1 }, { a: 1 }), "happens-after");
});
