import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import { getPrimaryKeyOfInternalDocument, getSingleDocument, writeSingle } from "rxdb/plugins/core";
import { converge, Device, type Settings } from "./device.js";

let server: Server;
let devices: Device[] = [];
let tenants = 0;

before(async () => {
  server = await Server.start({ auth: true });
});
afterEach(async () => {
  for (const device of devices) await device.database.remove();
  devices = [];
});
after(() => server.close());

function world(): Settings {
  return { tenant: `trap-${tenants++}` };
}

async function open(settings: Settings): Promise<Device> {
  const device = await Device.open(server, settings);
  devices.push(device);
  return device;
}

async function identityOf(device: Device): Promise<any> {
  const id = getPrimaryKeyOfInternalDocument("syncflow", "OTHER");
  return getSingleDocument<any>(device.database.internalStore as any, id);
}

/** A device whose storage is a copy of another one's, as far as its identity is concerned. */
async function copyOf(original: Device, settings: Settings): Promise<Device> {
  const device = await Device.prepare(server, settings);
  devices.push(device);
  const document = await identityOf(original);
  await writeSingle<any>(device.database.internalStore as any, { document: { ...document, _rev: "" } }, "test");
  device.replicate();
  return device;
}

async function write(device: Device, id: string, members: object): Promise<void> {
  await device.notes.incrementalUpsert({ id, title: "note", ...members });
}

test("trap 1: one client id on two devices loses no edit in silence", async () => {
  const settings = world();
  const a = await open(settings);
  await write(a, "one", { a: "first" });
  await a.inSync();
  const b = await copyOf(a, settings);
  await converge(a, b);
  assert.equal((await identityOf(a)).data.clientId, (await identityOf(b)).data.clientId);
  for (const device of [a, b]) device.network.online = false;
  await write(a, "one", { a: "of a" });
  await write(b, "one", { a: "of b" });
  a.network.online = true;
  await a.inSync();
  b.network.online = true;
  await converge(a, b);
  assert.equal((await a.content()).get("one")?.a, "of a");
  assert.equal(b.conflicts.length, 1);
  assert.equal(b.conflicts[0]?.input.newDocumentState.a, "of b");
});

test("trap 2: a wiped device with the ids of old documents writes on", async () => {
  const settings = world();
  const a = await open(settings);
  await write(a, "one", { a: "before" });
  await a.inSync();
  await a.database.remove();
  await a.openDatabase();
  await write(a, "one", { a: "after" });
  await write(a, "two", { a: "new" });
  a.replicate();
  await a.inSync();
  assert.equal((await a.content()).get("two")?.a, "new");
  // The device could not know of the old document: its conflict handler decided.
  assert.deepEqual(a.conflicts.map(({ input }) => input.newDocumentState.a), ["after"]);
  await write(a, "one", { a: "later" });
  await a.inSync();
  assert.equal((await server.documents("notes", settings.tenant)).get("one")?.["a"], "later");
});

test("trap 3: a clock only grows by those who write the document, and not by those who read it", async () => {
  const settings = world();
  const writers: Device[] = [];
  for (let n = 0; n < 6; n++) {
    const device = await open(settings);
    await write(device, `own-${n}`, { a: "x" });
    await device.inSync();
    writers.push(device);
  }
  await write(writers[0]!, "shared", { a: "x" });
  await converge(...writers);
  await write(writers[1]!, "shared", { a: "y" });
  await converge(...writers);
  const page = await server.ask("/changes", { cursor: null, as: "documents" }, settings.tenant);
  const clocks = page.operations.map((operation: any) => Object.keys(operation.vectorClock).length);
  assert.deepEqual(clocks.sort(), [1, 1, 1, 1, 1, 1, 2]);
});

test("trap 4: a poison document is reported and does not stop the others", async () => {
  const settings = world();
  const a = await open(settings);
  await write(a, "x".repeat(280), { a: "the id is too long for the server" });
  await write(a, "good", { a: "1" });
  await until("the report", () => a.refused.length === 1);
  assert.deepEqual(a.refused[0]?.fields, ["docId"]);
  await write(a, "good", { a: "2" });
  await until("the good one", async () => (await server.documents("notes", settings.tenant)).get("good")?.["a"] === "2");
  await write(a, "large", { a: "x".repeat(1_100_000) });
  await until("the second report", () => a.refused.length === 2);
  // Once it is mended, it goes through whole.
  await write(a, "large", { a: "small", b: "kept" });
  await until("the mended one", async () => (await server.documents("notes", settings.tenant)).has("large"));
  const mended = (await server.documents("notes", settings.tenant)).get("large");
  assert.deepEqual([mended?.["a"], mended?.["b"]], ["small", "kept"]);
  assert.equal(a.refused.length, 2);
});

test("trap 5: a fixed id with a tombstone that the device never got can be used again", async () => {
  const settings = world();
  const a = await open(settings);
  await write(a, "settings", { a: "old" });
  await a.inSync();
  await (await a.notes.findOne("settings").exec(true)).remove();
  await a.inSync();
  await server.compact(settings.tenant);
  const b = await open(settings);
  await b.inSync();
  await write(b, "settings", { a: "new" });
  await converge(a, b);
  assert.equal((await a.content()).get("settings")?.a, "new");
  assert.deepEqual(b.conflicts, []);
});

test("trap 6: after a restore every document that a device holds comes back", async () => {
  const settings = world();
  const [a, b] = [await open(settings), await open(settings)];
  await write(a, "kept", { a: "1" });
  await write(a, "deleted", { a: "1" });
  await converge(a, b);
  await server.backUp();
  await write(a, "kept", { a: "2" });
  await write(a, "lost", { a: "1" });
  await (await a.notes.findOne("deleted").exec(true)).remove();
  await converge(a, b);
  a.network.online = false;
  await write(a, "lost", { b: "offline" });
  await server.restore();
  // Another device writes to the restored database before this one knows of it.
  await write(b, "kept", { b: "since" });
  a.network.online = true;
  await converge(a, b);
  const content = await a.content();
  assert.deepEqual([...content.keys()].sort(), ["kept", "lost"]);
  assert.equal(content.get("lost")?.b, "offline");
  assert.equal(content.get("kept")?.b, "since");
});

test("trap 7: a tombstone passes the validation of a schema with required fields", async () => {
  const settings = world();
  const [a, b] = [await open(settings), await open(settings)];
  await write(a, "one", { a: "1" });
  await write(a, "two", { a: "1" });
  await converge(a, b);
  b.network.online = false;
  await (await a.notes.findOne("one").exec(true)).remove();
  await (await a.notes.findOne("two").exec(true)).remove();
  // In conflict with the tombstone, which comes as the answer to the push.
  await write(b, "two", { a: "2" });
  await a.inSync();
  b.network.online = true;
  await converge(a, b);
  assert.equal((await b.content()).size, 0);
  assert.equal(b.conflicts.length, 1);
  assert.ok(b.errors.every((error) => error.code !== "RC_PULL" || !error.parameters?.writeError));
});

test("trap 8: short and empty pages do not end a pull", async () => {
  const settings = world();
  const a = await open(settings);
  // A page has 4 MiB, so it is cut after a few of these, and the rows between them are of another collection.
  const other = await open({ ...settings, collection: "other" });
  for (let n = 0; n < 14; n++) await write(a, `large-${n}`, { a: "x".repeat(700_000) });
  for (let n = 0; n < 30; n++) await write(other, `between-${n}`, { a: "y" });
  await a.inSync();
  await other.inSync();
  const b = await open({ ...settings, options: { batchSize: 50 } });
  await until("all of them", async () => (await b.content()).size === 14);
  // A checkpoint that came without documents is stored all the same.
  const empty = await open({ ...settings, collection: "empty" });
  await empty.replication.awaitInitialReplication();
  await empty.replication.awaitInSync();
  const stored = empty.replication.internalReplicationState?.lastCheckpointDoc.down?.checkpointData as any;
  assert.equal(typeof stored?.cursor, "string");
});

test("trap 9: pushes side by side keep the order of each document", async () => {
  const settings = world();
  const [a, b] = [await open({ ...settings, options: { batchSize: 2 } }), await open(settings)];
  await Promise.all(Array.from({ length: 40 }, (_, n) => write(a, `doc-${n % 20}`, { a: `${n}` })));
  await converge(a, b);
  const last = [...(await b.content())].every(([id, note]) => note.a === `${Number(id.slice(4)) + 20}`);
  assert.ok(last);
  assert.deepEqual([a.conflicts, a.refused], [[], []]);
});

test("trap 10: A to B to A to B arrives as four writes, and each ends at the other device", async () => {
  const settings = world();
  const [a, b] = [await open(settings), await open(settings)];
  for (const value of ["A", "B", "A", "B"]) {
    await write(a, "one", { a: value });
    await converge(a, b);
    assert.equal((await b.content()).get("one")?.a, value);
  }
  const [document] = (await server.ask("/changes", { cursor: null, as: "documents" }, settings.tenant)).operations;
  assert.equal(document.rev, 4);
  // Others write something and put it back: a device that edits the same base is not in conflict for that.
  a.network.online = false;
  await write(a, "one", { a: "B", b: "mine" });
  await write(b, "one", { a: "C" });
  await b.inSync();
  await write(b, "one", { a: "B" });
  await b.inSync();
  a.network.online = true;
  await converge(a, b);
  assert.equal((await b.content()).get("one")?.b, "mine");
});
