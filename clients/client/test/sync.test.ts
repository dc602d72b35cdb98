import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ADDRESS, Network, Random, Server } from "@syncflow-server/test-support";
import { CursorGone, type Edit, type Page, SyncflowClient } from "../src/index.js";
import { edit, everything, fast } from "./support.js";

let server: Server;

before(async () => {
  server = await Server.start();
});
after(() => server.close());

function device(options: Partial<ConstructorParameters<typeof SyncflowClient>[0]> = {}) {
  const network = new Network(server, new Random(1));
  const clientId = crypto.randomUUID();
  return { network, client: new SyncflowClient({ url: ADDRESS, clientId, fetch: network.fetch, backoff: fast, ...options }) };
}

test("a push and a pull carry documents from one device to another", async () => {
  const [a, b] = [device(), device()];
  const pushed = await a.client.push([edit("walk", "one", { title: "Buy milk" })]);
  assert.equal(pushed.accepted.length, 1);
  const [change] = await everything(b.client, { cursor: null, collections: ["walk"] });
  assert.deepEqual(change?.data, { title: "Buy milk" });
  const base = { rev: change?.rev ?? 0, vectorClock: change?.vectorClock ?? {} };
  const update: Edit = { ...edit("walk", "one", { title: "Buy oat milk" }), type: "update", base };
  assert.equal((await b.client.push([update])).accepted.length, 1);
  assert.deepEqual((await server.documents("walk")).get("one"), { title: "Buy oat milk" });
});

test("edits of one document build on each other, also over the end of a batch", async () => {
  const { client } = device({ batchMaxOperations: 2 });
  const edits = [1, 2, 3, 4, 5].map((n) => edit("chain", "one", { n }));
  const { accepted, conflicts } = await client.push(edits);
  assert.deepEqual([accepted.length, conflicts.length], [5, 0]);
  assert.deepEqual((await server.documents("chain")).get("one"), { n: 5 });
});

test("an edit that has not seen the document is in conflict, and its answer is enough to try again", async () => {
  const [a, b] = [device(), device()];
  await a.client.push([edit("conflict", "one", { by: "a" })]);
  const { conflicts } = await b.client.push([edit("conflict", "one", { by: "b" })]);
  assert.equal(conflicts[0]?.relation, "concurrent");
  assert.deepEqual(conflicts[0]?.current?.data, { by: "a" });
  const again = { ...edit("conflict", "one", { by: "b" }), base: conflicts[0]?.current ?? null };
  assert.equal((await b.client.push([again])).accepted.length, 1);
});

test("an edit at fault is refused alone", async () => {
  const { client } = device();
  const good = edit("refused", "one", { n: 1 });
  const bad = edit("refused", "x".repeat(300), { n: 1 });
  const { accepted, refused } = await client.push([bad, good]);
  assert.equal(accepted[0]?.index, 1);
  assert.deepEqual([refused[0]?.index, refused[0]?.fields], [0, ["docId"]]);
});

test("a push that is too large is halved, and a single edit that is too large is refused", async () => {
  const { client, network } = device({ batchMaxBytes: 64 * 1024 * 1024, compressFromBytes: Infinity });
  const large = Array.from({ length: 12 }, (_, n) => edit("large", `doc-${n}`, { text: "x".repeat(1_000_000) }));
  const { accepted } = await client.push(large);
  assert.equal(accepted.length, 12);
  assert.ok(network.seen.some(({ status }) => status === 413));
  const { refused } = await client.push([edit("large", "huge", { text: "x".repeat(11_000_000) })]);
  assert.deepEqual(refused[0]?.fields, ["data"]);
});

test("batches are cut by their bytes", async () => {
  const { client, network } = device({ batchMaxBytes: 5_000 });
  const edits = Array.from({ length: 10 }, (_, n) => edit("bytes", `doc-${n}`, { text: "x".repeat(1_500) }));
  assert.equal((await client.push(edits)).accepted.length, 10);
  assert.ok(network.seen.filter(({ path }) => path === "/operations").length >= 5);
});

test("a large push is compressed", async () => {
  const { client, network } = device();
  const edits = Array.from({ length: 100 }, (_, n) => edit("compressed", `doc-${n}`, { text: "x".repeat(1_000) }));
  assert.equal((await client.push(edits)).accepted.length, 100);
  assert.equal(network.seen.at(-1)?.headers.get("content-encoding"), "gzip");
});

test("an answer that is lost does not make an edit take effect twice", async () => {
  const { client, network } = device();
  network.faults = { lostRequest: 0.3, lostAnswer: 0.5, busy: 0.2 };
  for (let n = 0; n < 10; n++) {
    const { accepted } = await client.push([edit("lost", `doc-${n}`, { n })]);
    assert.equal(accepted.length, 1);
  }
  const revisions = (await everything(device().client, { cursor: null, collections: ["lost"] })).map(({ rev }) => rev);
  assert.deepEqual(revisions, Array.from({ length: 10 }, () => 1));
});

test("a pull follows short pages and empty ones to the end", async () => {
  const { client } = device({ batchMaxBytes: 4_000_000 });
  const text = "x".repeat(700_000);
  await client.push(Array.from({ length: 14 }, (_, n) => edit("wide", `doc-${n}`, { text })));
  await client.push([edit("behind", "one", { n: 1 })]);
  const pages: Page[] = [];
  for await (const page of device().client.pull({ cursor: null, collections: ["wide", "behind"] })) pages.push(page);
  assert.ok(pages.length > 2, "pages are cut by their bytes");
  assert.equal(pages.flatMap((page) => page.operations).length, 15);
  assert.equal(pages.at(-1)?.hasMore, false);
});

test("a cursor of another log is gone, with a reason", async () => {
  const gone = device().client.pullPage({ cursor: "l.5.123456789abc" });
  await assert.rejects(gone, (error) => error instanceof CursorGone && error.reason === "reset");
});

test("an aborted push ends although the network is down", async () => {
  const { client, network } = device();
  network.online = false;
  const abort = new AbortController();
  const push = client.push([edit("aborted", "one", {})], { signal: abort.signal });
  setTimeout(() => abort.abort(), 50);
  await assert.rejects(push, { name: "AbortError" });
});
