import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import { Device, type Settings } from "./device.js";

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
