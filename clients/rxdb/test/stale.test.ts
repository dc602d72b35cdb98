import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import type { RxConflictHandler } from "rxdb/plugins/core";
import { Device, type Note, type Settings } from "./device.js";
import { merging } from "./history.js";

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

/** Holds requests back. */
class Gate {
  #open: () => void = () => undefined;
  #held: Promise<void> | undefined;
  waiting = 0;

  close(): void {
    this.#held = new Promise((open) => (this.#open = open));
  }

  open(): void {
    this.#held = undefined;
    this.#open();
  }

  async pass(): Promise<void> {
    if (!this.#held) return;
    this.waiting++;
    await this.#held;
    this.waiting--;
  }
}

/** What becomes of a request: an answer in place of the server's, or nothing. It may take its time. */
type Intercept = (path: string) => Promise<Response | undefined> | Response | undefined;

/** A device that pulls when it starts, and then only when it is told to: it gets no wake-up. */
async function openQuiet(settings: Settings, intercept: Intercept = () => undefined): Promise<Device> {
  const device: Device = await Device.prepare(server, {
    ...settings,
    options: {
      ...settings.options,
      fetch: async (url, init) => {
        const path = String(url).replace("http://syncflow.test", "");
        if (path === "/changes/stream") return never(init?.signal);
        return (await intercept(path)) ?? device.network.fetch(url, init);
      },
    },
  });
  devices.push(device);
  device.replicate();
  return device;
}

async function open(settings: Settings): Promise<Device> {
  const device = await Device.open(server, settings);
  devices.push(device);
  return device;
}

function never(signal: AbortSignal | null | undefined): Promise<Response> {
  return new Promise((_, failed) => signal?.addEventListener("abort", () => failed(new TypeError("request lost"))));
}

const newTenant = () => `stale-${tenants++}`;
const upsert = (device: Device, id: string, a: string) => device.notes.incrementalUpsert({ id, title: "note", a });
const pushedBy = (device: Device) =>
  device.network.seen.filter(({ path }) => path === "/operations").flatMap(({ body }) => body.operations);

test("a document that is pulled while its old state waits to be pushed is not put back", { timeout: 120_000 }, async () => {
  const pulls = new Gate();
  const pushes = new Gate();
  const tenant = newTenant();
  const a = await openQuiet({ tenant, options: { batchSize: 1 } }, async (path) => {
    await (path === "/operations" ? pushes : pulls).pass();
    return undefined;
  });
  const b = await open({ tenant });
  const pulled = (text: string) =>
    until(`a has pulled ${text}`, async () => (await a.content()).get("one")?.a === text);
  await a.replication.awaitInSync();
  pulls.close();
  pushes.close();
  a.replication.reSync();
  await until("a pull waits", () => pulls.waiting > 0);
  // This is not pushed before the pull is done, and is cut off by the reload.
  await upsert(a, "two", "1");
  await upsert(b, "one", "1");
  await b.inSync();
  pulls.open();
  await pulled("1");
  pulls.close();
  await a.reload();
  // RxDB collects what was written since its last push: the new document, and the pulled one behind it.
  await until("both are collected", () => (a.replication.internalReplicationState?.stats.up.persistToMaster ?? 0) >= 2);
  await upsert(b, "one", "2");
  await b.inSync();
  pulls.open();
  await pulled("2");
  pushes.open();
  await until("the new document is pushed", async () => {
    a.replication.reSync();
    await a.replication.awaitInSync();
    return (await server.documents("notes", tenant)).has("two");
  });
  await a.inSync();
  assert.equal((await a.content()).get("one")?.a, "2");
  assert.deepEqual([...new Set(pushedBy(a).map(({ docId }) => docId))], ["two"]);
});

test("a pulled document is not pushed as an edit before RxDB has stored that it is the server's", async () => {
  const tenant = newTenant();
  const a = await openQuiet({ tenant });
  const b = await open({ tenant });
  await a.replication.awaitInSync();
  await upsert(b, "one", "1");
  await b.inSync();
  const gate = new Gate();
  gate.close();
  const meta = a.replication.metaInstance as any;
  const write = meta.bulkWrite.bind(meta);
  meta.bulkWrite = async (rows: any[], context: string) => {
    if (context === "replication-down-write-meta") await gate.pass();
    // RxDB collects the documents behind its checkpoint.
    if (context === "replication-set-checkpoint" && rows[0].document.itemId === "up") return { error: [] };
    return write(rows, context);
  };
  a.replication.reSync();
  await until("the document is here", async () => gate.waiting > 0 && (await a.content()).has("one"));
  const { stats, streamQueue } = a.replication.internalReplicationState!;
  const collected = stats.up.persistToMaster;
  a.replication.reSync();
  await until("the document is collected", () => stats.up.persistToMaster > collected);
  await streamQueue.up;
  gate.open();
  meta.bulkWrite = write;
  await a.inSync();
  assert.deepEqual(pushedBy(a), []);
});

/**
 * A device that has pulled a newer state of a document while its conflict handler decides about an older one. It takes
 * the server's state.
 */
async function inTheMiddleOfAConflict(tenant: string) {
  const pulls = new Gate();
  const decision = new Gate();
  const asked: string[] = [];
  const conflictHandler: RxConflictHandler<Note> = {
    ...merging,
    async resolve({ realMasterState }) {
      asked.push(realMasterState.a ?? "");
      await decision.pass();
      return realMasterState;
    },
  };
  const a = await openQuiet({ tenant, conflictHandler, options: { batchSize: 1 } }, async (path) => {
    if (path === "/changes") await pulls.pass();
    return undefined;
  });
  const b = await open({ tenant });
  await a.replication.awaitInSync();
  await upsert(b, "other", "1");
  await b.inSync();
  await upsert(b, "one", "1");
  await b.inSync();
  pulls.close();
  decision.close();
  a.replication.reSync();
  await until("a pull waits", () => pulls.waiting > 0);
  const push = a.replication.push!;
  const { handler } = push;
  let isCalled = false;
  push.handler = async (rows) => {
    const result = handler(rows);
    isCalled = true;
    return result;
  };
  await upsert(a, "one", "of a");
  await until("a push waits for the pull", () => isCalled);
  // The pull brings the other document. The push comes before the next pull, which RxDB makes without a pause.
  pulls.open();
  pulls.close();
  await until("the conflict", () => decision.waiting > 0);
  await upsert(b, "one", "2");
  await b.inSync();
  pulls.open();
  await until("the next pull", () => {
    const { down } = a.replication.internalReplicationState!.lastCheckpointDoc;
    return a.network.seen.some(({ path, answer }) =>
      path === "/changes" && answer.operations.some(({ data }: any) => data.a === "2") &&
      (down?.checkpointData as any)?.cursor === answer.cursor);
  });
  return { a, b, pulls, decision, asked };
}

test("a state that is pulled while a conflict is resolved is taken after that", async () => {
  const { a, decision, asked } = await inTheMiddleOfAConflict(newTenant());
  decision.open();
  await until("the newest state is here", async () => (await a.content()).get("one")?.a === "2");
  await a.inSync();
  assert.deepEqual(asked, ["1"]);
});

test("a new document of which RxDB has not noted that it is the server's does not hide the newer states", async () => {
  const tenant = newTenant();
  const a = await openQuiet({ tenant, conflictHandler: merging });
  const b = await open({ tenant });
  await a.replication.awaitInSync();
  await upsert(b, "one", "1");
  await b.inSync();
  const meta = a.replication.metaInstance as any;
  const write = meta.bulkWrite.bind(meta);
  let isCollected = false;
  // The device is switched off before these are stored, and after RxDB has stored that it need not look at the document.
  meta.bulkWrite = async (rows: any[], context: string) => {
    const { itemId } = rows[0].document;
    if (context === "replication-down-write-meta" || itemId === "down") return { error: [] };
    const result = await write(rows, context);
    isCollected ||= itemId === "up";
    return result;
  };
  a.replication.reSync();
  await until("the document is here", async () => isCollected && (await a.content()).has("one"));
  await a.reload();
  await a.replication.awaitInSync();
  await upsert(b, "one", "2");
  await b.inSync();
  a.replication.reSync();
  await until("the newest state is here", async () => (await a.content()).get("one")?.a === "2");
  await a.inSync();
  assert.deepEqual([pushedBy(a), a.conflicts, a.errors], [[], [], []]);
});

test("a state that was left out before the device was switched off is taken when it starts again", async () => {
  const { a, b, pulls, decision } = await inTheMiddleOfAConflict(newTenant());
  // The older state is stored, and the newer one is not taken before the device is switched off.
  pulls.close();
  decision.open();
  await until("the older state is here", async () => (await a.content()).get("one")?.a === "1");
  await a.replication.internalReplicationState!.streamQueue.up;
  await a.reload();
  pulls.open();
  await until("the newest state is here", async () => (await a.content()).get("one")?.a === "2");
  await a.inSync();
  await upsert(a, "one", "3");
  await b.inSync();
  await a.inSync();
  assert.equal((await b.content()).get("one")?.a, "3");
});

test("a state that is pulled before the server refuses an edit of the old one is taken after that", async () => {
  const tenant = newTenant();
  const pulls = new Gate();
  const a = await openQuiet({ tenant }, async (path) => {
    if (path === "/changes") await pulls.pass();
    return undefined;
  });
  const b = await open({ tenant });
  await upsert(b, "one", "1");
  await b.inSync();
  await a.inSync();
  pulls.close();
  a.replication.reSync();
  await until("a pull waits", () => pulls.waiting > 0);
  await upsert(a, "one", "x".repeat(1_100_000));
  await upsert(b, "one", "2");
  await b.inSync();
  pulls.open();
  await until("the report", () => a.refused.length === 1);
  await until("the newest state is here", async () => (await a.content()).get("one")?.a === "2");
});

test("a tab that takes over knows what the one before it has sent", async () => {
  const tenant = newTenant();
  let isLost = false;
  const first: Device = await Device.prepare(server, {
    tenant,
    hasTabs: true,
    options: {
      fetch: async (url, init) => {
        const answer = await first.network.fetch(url, init);
        if (isLost && String(url).endsWith("/operations")) throw new TypeError("answer lost");
        return answer;
      },
    },
  });
  devices.push(first);
  first.replicate();
  await first.replication.awaitInitialReplication();
  const second = await first.openTab();
  devices.push(second);
  second.replicate();
  isLost = true;
  await upsert(first, "one", "1");
  await until("the write is there", async () => (await server.documents("notes", tenant)).size === 1);
  await upsert(first, "one", "2");
  assert.ok(!second.database.isLeader());
  await first.close();
  isLost = false;
  await second.inSync();
  assert.equal((await second.content()).get("one")?.a, "2");
  assert.deepEqual(second.conflicts, []);
});
