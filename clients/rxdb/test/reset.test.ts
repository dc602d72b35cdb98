import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import { converge, Device } from "./device.js";
import { merging } from "./history.js";

const TENANT = "reset";

let server: Server;
let devices: Device[] = [];

beforeEach(async () => {
  server = await Server.start({ auth: true });
});
afterEach(async () => {
  for (const device of devices) await device.database.remove();
  devices = [];
  await server.close();
});

async function write(device: Device, id: string, members: object): Promise<void> {
  await device.notes.incrementalUpsert({ id, title: "note", ...members });
}

/**
 * Two devices, and a server that has lost what they wrote last. The first device is in the middle of its reset when
 * `interrupt` is called: it has asked for the first page of the other log.
 */
async function inTheMiddleOfAReset(interrupt: (device: Device) => void): Promise<[Device, Device]> {
  let isRestored = false;
  const a = await Device.prepare(server, {
    tenant: TENANT,
    options: {
      batchSize: 2,
      fetch: async (url, init) => {
        const answer = await a.network.fetch(url, init);
        const isFirstPage = String(url).endsWith("/changes") && JSON.parse(String(init?.body)).cursor === null;
        if (isRestored && isFirstPage) {
          isRestored = false;
          interrupt(a);
        }
        return answer;
      },
    },
  });
  devices.push(a);
  a.replicate();
  const b = await Device.open(server, { tenant: TENANT });
  devices.push(b);
  for (let n = 0; n < 7; n++) await write(a, `kept-${n}`, { a: "1" });
  await converge(a, b);
  await server.backUp();
  for (let n = 0; n < 5; n++) await write(a, `lost-${n}`, { a: "1" });
  await write(a, "kept-0", { a: "2" });
  await a.inSync();
  b.network.online = false;
  await server.restore();
  isRestored = true;
  a.replication.reSync();
  await until("the reset is interrupted", () => !isRestored);
  return [a, b];
}

async function hasEverything(a: Device, b: Device): Promise<void> {
  b.network.online = true;
  await converge(a, b);
  const content = await a.content();
  const lost = Array.from({ length: 5 }, (_, n) => `lost-${n}`);
  const kept = Array.from({ length: 7 }, (_, n) => `kept-${n}`);
  assert.deepEqual([...content.keys()].filter((id) => id !== "meanwhile").sort(), [...kept, ...lost]);
  assert.equal(content.get("kept-0")?.a, "2");
}

test("a reset that a device without a network and a reload cut off begins again, and brings everything back", async () => {
  const [a, b] = await inTheMiddleOfAReset((device) => (device.network.online = false));
  await write(a, "meanwhile", { a: "1" });
  await a.reload();
  a.network.online = true;
  await hasEverything(a, b);
  assert.equal((await b.content()).get("meanwhile")?.a, "1");
});

test("a reset goes on when its replication was paused in the middle, with the edits from meanwhile", async () => {
  const [a, b] = await inTheMiddleOfAReset((device) => device.replication.pause());
  await write(a, "meanwhile", { a: "1" });
  await write(a, "lost-0", { b: "edited" });
  await a.replication.start();
  await hasEverything(a, b);
  assert.equal((await b.content()).get("meanwhile")?.a, "1");
  assert.equal((await b.content()).get("lost-0")?.b, "edited");
});

test("an edit that a reset has merged with another one does not replace it when it is pushed", async () => {
  const a = await Device.open(server, { tenant: TENANT, conflictHandler: merging });
  const b = await Device.open(server, { tenant: TENANT, conflictHandler: merging });
  devices.push(a, b);
  await write(a, "one", { a: "1" });
  await converge(a, b);
  await server.backUp();
  b.network.online = false;
  await write(a, "one", { b: "lost" });
  await a.inSync();
  // The cursor of the device comes to lie behind its write.
  const operation = { id: "two", type: "insert", collection: "notes", docId: "two", data: { id: "two", title: "note" } };
  const stamp = { clientId: "another", timestamp: 1, vectorClock: { another: 1 } };
  await server.ask("/operations", { clientId: "another", operations: [{ ...operation, ...stamp }] }, TENANT);
  await until("the device has two", async () => (await a.content()).has("two"));
  a.network.online = false;
  await write(a, "one", { b: "of a" });
  await server.restore();
  b.network.online = true;
  await write(b, "one", { a: "of b" });
  await b.inSync();
  // A device that starts pulls before it pushes.
  await a.reload();
  a.network.online = true;
  await converge(a, b);
  const { a: first, b: second } = (await a.content()).get("one") ?? {};
  assert.deepEqual([first, second], ["of b", "of a"]);
});

test("after a restore, an edit does not get the counter of one whose answer was lost", async () => {
  const a = await Device.open(server, { tenant: TENANT });
  const b = await Device.open(server, { tenant: TENANT });
  devices.push(a, b);
  await converge(a, b);
  await server.backUp();
  a.network.faults = { lostRequest: 0, lostAnswer: 1, busy: 0 };
  await write(a, "one", { a: "1" });
  await until("b has it", async () => (await b.content()).has("one"));
  a.network.online = false;
  await write(b, "one", { b: "of b" });
  await b.inSync();
  b.network.online = false;
  await server.restore();
  await a.reload();
  await write(a, "one", { a: "2" });
  a.network.faults = { lostRequest: 0, lostAnswer: 0, busy: 0 };
  a.network.online = true;
  await a.inSync();
  // The state of this device has seen the first edit of the other one, and not the second.
  b.network.online = true;
  await converge(a, b);
  assert.equal((await a.content()).get("one")?.a, "2");
  assert.equal(b.conflicts.length, 1);
});

function never(signal: AbortSignal | null | undefined): Promise<Response> {
  return new Promise((_, failed) => signal?.addEventListener("abort", () => failed(new TypeError("request lost"))));
}

/** A device that pulls when it starts, and then only when it is told to. `before` may answer in place of the server. */
async function openQuiet(
  after: (path: string) => Promise<void> = async () => undefined,
  before: (path: string, body: any) => Response | undefined = () => undefined,
  options: object = {},
): Promise<Device> {
  const device: Device = await Device.prepare(server, {
    tenant: TENANT,
    options: {
      ...options,
      compressFromBytes: Infinity,
      fetch: async (url, init) => {
        if (String(url).endsWith("/changes/stream")) return never(init?.signal);
        const path = String(url).replace("http://syncflow.test", "");
        const early = before(path, JSON.parse(String(init?.body)));
        if (early) return early;
        const answer = await device.network.fetch(url, init);
        await after(path);
        return answer;
      },
    },
  });
  devices.push(device);
  device.replicate();
  return device;
}

const pushesOf = (device: Device) => device.network.seen.filter(({ path }) => path === "/operations");

test("after a restore, an edit gets a newer counter than one that only the server knew", async () => {
  const b = await Device.open(server, { tenant: TENANT });
  devices.push(b);
  let isLost = false;
  const a = await openQuiet(async (path) => {
    if (path !== "/operations" || isLost) return;
    isLost = true;
    // The operation is known when it is pushed again, but no longer the last one.
    await until("b has it", async () => (await b.content()).has("one"));
    await write(b, "one", { a: "of b" });
    await b.inSync();
    throw new TypeError("answer lost");
  });
  await converge(a, b);
  await server.backUp();
  await write(a, "one", { a: "1" });
  await until("the second push", () => pushesOf(a).length === 2);
  await a.replication.awaitInSync();
  assert.deepEqual(pushesOf(a)[1]?.answer.revisions, []);
  b.network.online = false;
  await server.restore();
  await write(a, "one", { a: "2" });
  await until("the write is there", async () => (await server.documents("notes", TENANT)).get("one")?.["a"] === "2");
  await a.replication.awaitInSync();
  // The state of this device has seen the first edit of the other one, and not the second.
  b.network.online = true;
  await converge(a, b);
  assert.equal((await a.content()).get("one")?.a, "2");
  assert.equal(b.conflicts.length, 1);
});

/** Ways in which a device does not learn which counter an edit got, before the server is restored. */
const cuts: Record<string, { isLost?: boolean; isFull?: boolean; batchMaxOperations: number }> = {
  "a push whose answer was lost": { isLost: true, batchMaxOperations: 2 },
  "the first batch of a push": { batchMaxOperations: 1 },
  "a delete that made room for a push": { isFull: true, batchMaxOperations: 2 },
};

for (const [name, { isLost, isFull, batchMaxOperations }] of Object.entries(cuts)) {
  test(`after a restore, ${name} gets a newer counter than the lost one`, async () => {
    const b = await Device.open(server, { tenant: TENANT });
    devices.push(b);
    let isArmed = false;
    let isRestored = false;
    const after = async (path: string) => {
      if (path !== "/operations" || !isArmed) return;
      isArmed = false;
      await until("b has it", async () => (await b.content()).get("one")?.a === (isFull ? undefined : "2"));
      b.network.online = false;
      // It waits for the end of this push, and builds on what that notes.
      await write(a, "one", { a: "3" });
      await server.restore();
      isRestored = true;
      if (isLost) throw new TypeError("answer lost");
    };
    const before = (path: string, body: any) => {
      if (!isFull || !isArmed || path !== "/operations") return undefined;
      if (body.operations.every(({ type }: any) => type === "delete")) return undefined;
      return Response.json({ error: "tenant_full", message: "full" }, { status: 507 });
    };
    const a = await openQuiet(after, before, { batchMaxOperations });
    await write(a, "one", { a: "1" });
    await converge(a, b);
    await server.backUp();
    // The restored log does not have the place of this one.
    await write(a, "two", { a: "1" });
    await a.inSync();
    // Both edits are in one push.
    await a.close();
    await a.openDatabase();
    if (isFull) await (await a.notes.findOne("one").exec(true)).remove();
    else await write(a, "one", { a: "2" });
    await write(a, "three", { a: "1" });
    isArmed = true;
    a.replicate();
    await until("the restore", () => isRestored);
    await until("the edit is there", async () => (await server.documents("notes", TENANT)).get("one")?.["a"] === "3");
    await a.replication.awaitInSync();
    const gone = pushesOf(a).findIndex(({ status }) => status === 410);
    const { docId, vectorClock } = pushesOf(a)[gone + 1]?.body.operations[0];
    assert.equal(docId, "one");
    assert.ok(vectorClock);
    // This edit has seen what the server has lost, and not the edit that was built on it.
    await write(b, "one", { a: "of b" });
    b.network.online = true;
    await converge(a, b);
    assert.equal((await a.content()).get("one")?.a, "3");
    assert.equal(b.conflicts.length, 1);
  });
}

test("a push goes on at once when the server says that its log is another one", async () => {
  const a = await openQuiet();
  await write(a, "kept", { a: "1" });
  await a.inSync();
  await server.backUp();
  await write(a, "one", { a: "1" });
  await until("the write is there", async () => (await server.documents("notes", TENANT)).has("one"));
  await a.replication.awaitInSync();
  await server.restore();
  const pulled = a.network.seen.filter(({ path }) => path === "/changes").length;
  await write(a, "one", { a: "1", b: "2" });
  await until("both writes are there", async () => {
    const { a, b } = (await server.documents("notes", TENANT)).get("one") ?? {};
    return a === "1" && b === "2";
  });
  const statuses = pushesOf(a).slice(-2).map(({ status }) => status);
  assert.deepEqual(statuses, [410, 200]);
  const before = a.network.seen.slice(0, a.network.seen.indexOf(pushesOf(a).at(-1)!));
  assert.equal(before.filter(({ path }) => path === "/changes").length, pulled);
  await converge(a);
  assert.deepEqual([...(await a.content()).keys()].sort(), ["kept", "one"]);
  assert.deepEqual([a.errors, a.conflicts], [[], []]);
});
