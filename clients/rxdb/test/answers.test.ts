import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import { logout } from "../src/index.js";
import { converge, Device } from "./device.js";

/** Changes an answer of the server into one that only a server with rules or policies gives. */
type Change = (answer: any, request: any, path: string) => { status?: number; body: unknown } | undefined;

let server: Server;
let devices: Device[] = [];
let tenants = 0;

before(async () => {
  server = await Server.start({ auth: true });
});
afterEach(async () => {
  for (const device of devices) if (!device.database.closed) await device.database.remove();
  devices = [];
});
after(() => server.close());

async function open(tenant: string, change: Change = () => undefined): Promise<Device> {
  const device = await Device.prepare(server, {
    tenant,
    options: {
      fetch: async (url, init) => {
        const answer = await device.network.fetch(url, init);
        // A stream never ends, so it cannot be read as a whole.
        const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
        if (!answer.ok || !isJson) return answer;
        const changed = change(await answer.clone().json(), JSON.parse(String(init?.body)), String(url));
        return changed ? Response.json(changed.body, { status: changed.status ?? 200 }) : answer;
      },
    },
  });
  devices.push(device);
  device.replicate();
  return device;
}

const newTenant = () => `answers-${tenants++}`;
const upsert = (device: Device, id: string, a: string) => device.notes.incrementalUpsert({ id, title: "note", a });

test("after a 410 with the reason view, a document that is no longer sent leaves the device and not the server", async () => {
  const tenant = newTenant();
  let isHidden = false;
  let isGone = false;
  const a = await open(tenant);
  const b = await open(tenant, (answer, request) => {
    if (!isHidden || !answer.cursor) return undefined;
    if (request.cursor !== null && !isGone) {
      isGone = true;
      return { status: 410, body: { error: "Cursor gone", message: "other rights", reason: "view" } };
    }
    return { body: { ...answer, operations: answer.operations.filter(({ docId }: any) => docId !== "secret") } };
  });
  await upsert(a, "secret", "1");
  await upsert(a, "open", "1");
  await converge(a, b);
  isHidden = true;
  b.replication.reSync();
  await until("the document is gone", async () => [...(await b.content()).keys()].join() === "open");
  assert.equal((await server.documents("notes", tenant)).size, 2);
  assert.equal(b.network.seen.filter(({ path }) => path === "/operations").length, 0);
});

test("a write under the id of a document that left the view is in conflict when the user may see it again", async () => {
  const tenant = newTenant();
  let isHidden = false;
  let isGone = false;
  const a = await open(tenant);
  const b = await open(tenant, (answer, request) => {
    if (!isHidden || !answer.cursor) return undefined;
    if (request.cursor !== null && !isGone) {
      isGone = true;
      return { status: 410, body: { error: "Cursor gone", message: "other rights", reason: "view" } };
    }
    return { body: { ...answer, operations: [] } };
  });
  await upsert(a, "one", "1");
  await converge(a, b);
  isHidden = true;
  b.replication.reSync();
  await until("the document is gone", async () => (await b.content()).size === 0);
  b.network.online = false;
  await b.notes.insert({ id: "one", title: "note", a: "of b" });
  isHidden = false;
  b.network.online = true;
  await converge(a, b);
  assert.equal((await a.content()).get("one")?.a, "1");
  assert.deepEqual(b.conflicts.map(({ input }) => input.newDocumentState.a), ["of b"]);
});

test("a document that was removed from the user's view leaves the device", async () => {
  const tenant = newTenant();
  let isRemoved = false;
  const a = await open(tenant);
  const b = await open(tenant, (answer) => {
    if (!isRemoved || !answer.operations) return undefined;
    const removed = (operation: any) => ({ ...operation, type: "delete", data: null, removed: true });
    return { body: { ...answer, operations: answer.operations.map(removed) } };
  });
  await upsert(a, "one", "1");
  await converge(a, b);
  isRemoved = true;
  await upsert(a, "one", "2");
  await until("the document is gone", async () => (await b.content()).size === 0);
  assert.equal((await server.documents("notes", tenant)).get("one")?.["a"], "2");
});

test("a forbidden write is reported once and given up", async () => {
  const tenant = newTenant();
  const device = await open(tenant, (answer, { operations }) => {
    // The server has taken the write, which this one would not have, and no pull may bring it back.
    if (answer.cursor) return { body: { ...answer, operations: [] } };
    if (!answer.accepted) return undefined;
    const conflicts = operations.map(({ id }: any) => ({ id, conflict: { relation: "forbidden" } }));
    return { body: { accepted: [], conflicts, refused: [] } };
  });
  await upsert(device, "one", "1");
  await until("the write is given up", async () => (await device.content()).size === 0);
  await device.replication.awaitInSync();
  assert.deepEqual(device.refused.map(({ document, fields }) => [document["a"], fields]), [["1", []]]);
  assert.equal(device.network.seen.filter(({ path }) => path === "/operations").length, 1);
});

test("values that lost in a resolution of the server are reported, and its state is pulled", async () => {
  const tenant = newTenant();
  let pushed = 0;
  const device = await open(tenant, (answer) => {
    if (!answer.accepted) return undefined;
    pushed = device.network.seen.length;
    const resolved = answer.accepted.map(({ id }: any) => ({ id, operation: "r", outcome: "lost", lost: { a: "1" } }));
    return { body: { ...answer, resolved } };
  });
  await upsert(device, "one", "1");
  await until("the report", () => device.lost.length === 1);
  assert.equal(device.lost[0]?.document["a"], "1");
  await until("a pull", () => device.network.seen.slice(pushed).some(({ path }) => path === "/changes"));
});

test("the server gets the revision that the device saw, and only the keys that changed", async () => {
  const tenant = newTenant();
  const sent: any[] = [];
  const device = await Device.prepare(server, {
    tenant,
    options: {
      compressFromBytes: Infinity,
      fetch: (url, init) => {
        const { operations = [] } = JSON.parse(String(init?.body ?? "{}"));
        sent.push(...operations);
        return device.network.fetch(url, init);
      },
    },
  });
  devices.push(device);
  device.replicate();
  await device.replication.awaitInitialReplication();
  for (const a of ["1", "2", "3"]) {
    await upsert(device, "one", a);
    const count = Number(a);
    await until("the push", () => sent.length === count);
    await device.inSync();
  }
  assert.deepEqual(sent.map(({ type, baseRev, vectorClock }) => [type, baseRev, vectorClock]), [
    ["insert", 0, undefined],
    ["update", 1, undefined],
    ["update", 2, undefined],
  ]);
  assert.deepEqual(sent[2].data, { a: "3" });
});

test("logging out removes what the device stored, and another user's token is not taken before that", async () => {
  const tenant = newTenant();
  const device = await open(tenant);
  await upsert(device, "one", "1");
  await device.inSync();
  await device.close();
  await device.openDatabase();
  device.settings.options = { token: () => server.token({ tenant: "of-another", subject: "another" }) };
  device.replicate();
  await until("the error", () => device.errors.some((error) => JSON.stringify(error).includes("another user")));
  assert.equal((await server.documents("notes", "of-another")).size, 0);
  await logout(device.database);
  await device.openDatabase();
  assert.equal((await device.content()).size, 0);
  device.settings.tenant = "of-another";
  device.replicate();
  await device.inSync();
});

test("a schema without the hidden field is refused with a sentence that says what to do", async () => {
  const device = await Device.prepare(server, { tenant: newTenant() });
  devices.push(device);
  delete (device.notes.schema.jsonSchema as any).properties.syncflow;
  assert.throws(() => device.replicate(), /withSyncflow/);
});
