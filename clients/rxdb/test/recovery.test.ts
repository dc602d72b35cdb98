import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import { converge, Device, type Settings } from "./device.js";

/** What becomes of a request: an answer in place of the server's, or nothing. */
type Intercept = (path: string, body: any) => Response | undefined;

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

async function open(tenant: string, intercept: Intercept, options: Settings["options"] = {}): Promise<Device> {
  const device: Device = await Device.prepare(server, {
    tenant,
    options: {
      compressFromBytes: Infinity,
      ...options,
      fetch: async (url, init) => {
        const path = String(url).replace("http://syncflow.test", "");
        const answer = intercept(path, typeof init?.body === "string" ? JSON.parse(init.body) : undefined);
        return answer ?? device.network.fetch(url, init);
      },
    },
  });
  devices.push(device);
  device.replicate();
  return device;
}

const newTenant = () => `recovery-${tenants++}`;
const upsert = (device: Device, id: string, a: string) => device.notes.incrementalUpsert({ id, title: "note", a });
const failure = (status: number, error = "test") => Response.json({ error, message: error }, { status });
const gone = (reason: "reset" | "view") => Response.json({ error: "Cursor gone", message: "gone", reason }, { status: 410 });
const pushedBy = (device: Device) =>
  device.network.seen.filter(({ path }) => path === "/operations").flatMap(({ body }) => body.operations);

test("an error in the middle of a reset leaves no document out", async () => {
  const tenant = newTenant();
  let isRestored = false;
  let errors = 1;
  const a = await open(tenant, (path, body) => {
    if (!isRestored || path !== "/operations" || body.strict || errors-- <= 0) return undefined;
    return failure(500);
  });
  await upsert(a, "kept", "1");
  await a.inSync();
  await server.backUp();
  for (const id of ["lost-1", "lost-2", "lost-3"]) await upsert(a, id, "1");
  await a.inSync();
  await server.restore();
  isRestored = true;
  await a.inSync();
  assert.deepEqual([...(await server.documents("notes", tenant)).keys()].sort(), ["kept", "lost-1", "lost-2", "lost-3"]);
});

test("a document that the server refused stays on the device over a restart", async () => {
  const tenant = newTenant();
  let isGone = false;
  const a = await open(tenant, (path, body) => {
    if (path !== "/changes" || !isGone || body.cursor === null) return undefined;
    isGone = false;
    return gone("view");
  });
  const poison = "x".repeat(280);
  await upsert(a, "good", "1");
  await upsert(a, poison, "1");
  await until("the report", () => a.refused.length === 1);
  isGone = true;
  await until("the restart", () => {
    a.replication.reSync();
    return !isGone;
  });
  await upsert(a, "good", "2");
  await until("it goes on", async () => (await server.documents("notes", tenant)).get("good")?.["a"] === "2");
  assert.deepEqual([...(await a.content()).keys()].sort(), ["good", poison]);
});

test("what a pull has shown is not pushed again after a reload", async () => {
  const tenant = newTenant();
  const a = await open(tenant, () => undefined);
  await upsert(a, "one", "1");
  await a.inSync();
  await until("the pull has shown it", () => a.network.seen.some(({ path, answer }) =>
    path === "/changes" && answer.operations.some(({ docId }: any) => docId === "one")));
  await a.replication.awaitInSync();
  const before = pushedBy(a).length;
  await a.reload();
  await a.inSync();
  await upsert(a, "two", "1");
  await a.inSync();
  assert.deepEqual(pushedBy(a).slice(before).map(({ docId }) => docId), ["two"]);
});

test("a device that only pulled may write later, and builds on what it has pulled", async () => {
  const tenant = newTenant();
  const b = await open(tenant, () => undefined);
  await upsert(b, "one", "1");
  await b.inSync();
  const a = await open(tenant, () => undefined, { push: false });
  await until("a has it", async () => (await a.content()).has("one"));
  await a.close();
  await a.openDatabase();
  a.settings.options = { ...a.settings.options, push: true };
  a.replicate();
  await (await a.notes.findOne("one").exec(true)).incrementalPatch({ a: "2" });
  await converge(a, b);
  assert.equal((await b.content()).get("one")?.a, "2");
  assert.deepEqual(a.conflicts, []);
});

test("an upsert on a device that only pulled builds on what it has pulled", async () => {
  const tenant = newTenant();
  const b = await open(tenant, () => undefined);
  await upsert(b, "one", "1");
  await b.inSync();
  const a = await open(tenant, () => undefined, { push: false });
  await until("a has it", async () => (await a.content()).has("one"));
  await a.close();
  await a.openDatabase();
  a.settings.options = { ...a.settings.options, push: true };
  a.replicate();
  await upsert(a, "one", "2");
  await converge(a, b);
  assert.equal((await b.content()).get("one")?.a, "2");
  assert.deepEqual(a.conflicts, []);
});

test("a copy of a document that has the hidden field of the original is a new document", async () => {
  const tenant = newTenant();
  const a = await open(tenant, () => undefined);
  await upsert(a, "one", "1");
  await a.inSync();
  await until("the pull has shown it", async () => (await original(a))["syncflow"] !== undefined);
  await a.notes.insert({ ...(await original(a)), id: "copy" });
  await a.inSync();
  // This one is made while no replication is there to notice.
  await a.close();
  await a.openDatabase();
  await a.notes.insert({ ...(await original(a)), id: "early" });
  await a.notes.insert({ ...(await original(a)), id: "edited" });
  await (await a.notes.findOne("edited").exec(true)).incrementalPatch({ a: "2" });
  a.replicate();
  await a.inSync();
  const documents = await server.documents("notes", tenant);
  assert.deepEqual([...documents].map(([id, { a }]) => [id, a]).sort(), [
    ["copy", "1"],
    ["early", "1"],
    ["edited", "2"],
    ["one", "1"],
  ]);
  assert.deepEqual([a.conflicts, a.refused], [[], []]);
});

/** The document as an application gets it, with all of its fields. */
async function original(device: Device): Promise<any> {
  return (await device.notes.findOne("one").exec(true)).toJSON();
}

test("on a device that only pulls, a document leaves that its user may not see any more", async () => {
  const tenant = newTenant();
  const b = await open(tenant, () => undefined);
  await upsert(b, "one", "1");
  await b.inSync();
  let isHidden = false;
  let isGone = false;
  const a = await open(tenant, (path, body) => {
    if (path !== "/changes" || !isHidden) return undefined;
    if (body.cursor !== null && !isGone) {
      isGone = true;
      return gone("view");
    }
    return Response.json({ operations: [], conflicts: [], cursor: "l.0.0~0", hasMore: false });
  }, { push: false });
  await until("a has it", async () => (await a.content()).has("one"));
  isHidden = true;
  await until("it has left", async () => {
    a.replication.reSync();
    return (await a.content()).size === 0;
  });
  assert.equal((await server.documents("notes", tenant)).size, 1);
});

test("a push that is refused for good does not hold up pulls, and deletes make room in a full tenant", async () => {
  const tenant = newTenant();
  let isFull = false;
  const a = await open(tenant, (path, body) => {
    if (path !== "/operations" || !isFull) return undefined;
    return body.operations.every(({ type }: any) => type === "delete") ? undefined : failure(507, "tenant_full");
  });
  await upsert(a, "one", "1");
  await a.inSync();
  isFull = true;
  await upsert(a, "two", "1");
  await until("the error", () => a.errors.length > 0);
  const b = await open(tenant, () => undefined);
  await upsert(b, "three", "1");
  await until("a has what b wrote", async () => (await a.content()).has("three"));
  isFull = false;
  await converge(a, b);
  // Both are in one push.
  a.network.online = false;
  await a.close();
  await a.openDatabase();
  await upsert(a, "four", "1");
  await (await a.notes.findOne("one").exec(true)).remove();
  isFull = true;
  a.network.online = true;
  a.replicate();
  await until("the delete is there", async () => !(await server.documents("notes", tenant)).has("one"));
  isFull = false;
  await converge(a, b);
  assert.ok((await b.content()).has("four"));
});

test("a delete makes room in a full tenant, also one that is made while a push waits for room", async () => {
  const tenant = newTenant();
  let isFull = false;
  const a = await open(tenant, (path, body) => {
    if (path !== "/operations" || !isFull) return undefined;
    const isDelete = ({ type }: any) => type === "delete";
    if (!body.operations.every(isDelete)) return failure(507, "tenant_full");
    // A delete has made room.
    isFull = false;
    return undefined;
  });
  await upsert(a, "one", "1");
  await upsert(a, "two", "1");
  await a.inSync();
  isFull = true;
  await upsert(a, "three", "1");
  await upsert(a, "two", "2");
  await until("the error", () => a.errors.length > 0);
  await (await a.notes.findOne("one").exec(true)).remove();
  await a.inSync();
  assert.deepEqual([...(await server.documents("notes", tenant))].map(([id, { a }]) => [id, a]).sort(), [
    ["three", "1"],
    ["two", "2"],
  ]);
  assert.deepEqual(a.conflicts, []);
});

test("a token function that never answers does not stop the device", async () => {
  const tenant = newTenant();
  let calls = 0;
  const token = async () => {
    // The application's request hangs on a dead network.
    if (calls++ === 0) await new Promise(() => undefined);
    return server.token({ tenant });
  };
  const a = await open(tenant, () => undefined, { token, attemptMaxMs: 200 });
  await upsert(a, "one", "1");
  await a.inSync();
  assert.ok(calls > 1);
});

test("a document that its author may create and not see leaves the device", async () => {
  const forbidden = { relation: "forbidden" };
  const a = await open(newTenant(), (path, body) => {
    if (path === "/changes") return Response.json({ operations: [], conflicts: [], cursor: "l.0.0~0", hasMore: false });
    if (path !== "/operations" || body.strict) return undefined;
    // It is asked for again, because no pull has shown it.
    const conflicts = body.operations.map(({ id }: any) => ({ id, data: null, vectorClock: {}, conflict: forbidden }));
    return Response.json({ accepted: [], conflicts, refused: [] });
  });
  await upsert(a, "one", "1");
  await until("it has been pushed", () => pushedBy(a).length === 1);
  await until("it has left", async () => {
    a.replication.reSync();
    return (await a.content()).size === 0;
  });
});

const page = (cursor: string, operations: object[], hasMore = false) =>
  Response.json({ operations, conflicts: [], cursor, hasMore });
const change = (type: "insert" | "delete", docId: string, rev: number) => ({
  id: `${docId}-${rev}`, type, collection: "notes", docId, timestamp: 1, clientId: "other", synced: true, rev,
  data: type === "insert" ? { id: docId, title: "note", a: `${rev}` } : null, vectorClock: { other: rev },
});

/** Holds back what RxDB stores of pulled documents, or of what it has noted of them. */
function holdBack(device: Device): { release: () => void; held: () => number } {
  const storage = device.notes.storageInstance as any;
  const write = storage.bulkWrite.bind(storage);
  let release: () => void = () => undefined;
  let held = 0;
  const gate = new Promise<void>((open) => (release = open));
  storage.bulkWrite = async (rows: any[], context: string) => {
    if (!context.startsWith("replication-downstream")) return write(rows, context);
    held++;
    await gate;
    return write(rows, context);
  };
  return { release, held: () => held };
}

test("a document that is deleted while a restart goes on does not stay on the device", async () => {
  const tenant = newTenant();
  let pages: Response[] = [];
  const a = await open(tenant, (path, body) => {
    if (path !== "/changes" || body.wait) return undefined;
    return pages.shift() ?? page("l.9.0~0", []);
  }, { batchSize: 1 });
  await a.replication.awaitInSync();
  const { release, held } = holdBack(a);
  pages = [
    gone("view"),
    page("s.1.0~0", [change("insert", "one", 1)], true),
    page("s.2.0~0", [change("delete", "one", 2), change("insert", "two", 1)], true),
    page("l.9.0~0", []),
  ];
  a.replication.reSync();
  await until("all pages are pulled", () => pages.length === 0 && held() > 0);
  release();
  await until("the other one is here", async () => (await a.content()).has("two"));
  await a.replication.awaitInSync();
  assert.deepEqual([...(await a.content()).keys()], ["two"]);
});

test("a document that comes back in a restart comes again if the device is switched off before it is stored", async () => {
  const tenant = newTenant();
  let isForbidden = false;
  const a = await open(tenant, (path, body) => {
    if (path === "/changes/stream") return failure(501);
    if (path !== "/operations" || !isForbidden) return undefined;
    isForbidden = false;
    const conflicts = body.operations.map(({ id }: any) => ({ id, conflict: { relation: "forbidden" } }));
    return Response.json({ accepted: [], conflicts, refused: [] });
  });
  await upsert(a, "one", "1");
  await a.inSync();
  await until("the pull has shown it", async () => (await original(a))["syncflow"] !== undefined);
  isForbidden = true;
  const { held } = holdBack(a);
  await upsert(a, "one", "2");
  await until("the document left, and the restart has brought it back", async () =>
    held() > 0 && (await a.content()).size === 0);
  await a.reload();
  await a.inSync();
  assert.equal((await a.content()).get("one")?.a, "1");
});
