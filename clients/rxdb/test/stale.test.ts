import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import { Device } from "./device.js";

const TENANT = "stale";

let server: Server | undefined;
after(() => server?.close());

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

function never(signal: AbortSignal | null | undefined): Promise<Response> {
  return new Promise((_, failed) => signal?.addEventListener("abort", () => failed(new TypeError("request lost"))));
}

test("a document that is pulled while its old state waits to be pushed is not put back", { timeout: 120_000 }, async () => {
  const pulls = new Gate();
  const pushes = new Gate();
  server = await Server.start({ auth: true });
  const a = await Device.prepare(server, {
    tenant: TENANT,
    options: {
      batchSize: 1,
      fetch: async (url, init) => {
        // No wake-up comes: all pulls are asked for below.
        if (String(url).includes("/changes/stream")) return never(init?.signal);
        await (String(url).endsWith("/operations") ? pushes : pulls).pass();
        return a.network.fetch(url, init);
      },
    },
  });
  a.replicate();
  const b = await Device.open(server, { tenant: TENANT });
  const write = (device: Device, id: string, text: string) =>
    device.notes.incrementalUpsert({ id, title: "note", a: text });
  const pulled = (text: string) =>
    until(`a has pulled ${text}`, async () => (await a.content()).get("one")?.a === text);
  try {
    await a.replication.awaitInSync();
    pulls.close();
    pushes.close();
    a.replication.reSync();
    await until("a pull waits", () => pulls.waiting > 0);
    // This is not pushed before the pull is done, and is cut off by the reload.
    await write(a, "two", "1");
    await write(b, "one", "1");
    await b.inSync();
    pulls.open();
    await pulled("1");
    pulls.close();
    await a.reload();
    // RxDB collects what was written since its last push: the new document, and the pulled one behind it.
    await until("both are collected", () => (a.replication.internalReplicationState?.stats.up.persistToMaster ?? 0) >= 2);
    await write(b, "one", "2");
    await b.inSync();
    pulls.open();
    await pulled("2");
    pushes.open();
    await until("the new document is pushed", async () => {
      a.replication.reSync();
      await a.replication.awaitInSync();
      return (await server!.documents("notes", TENANT)).has("two");
    });
    await a.inSync();
    assert.equal((await a.content()).get("one")?.a, "2");
    const pushed = a.network.seen.filter(({ path }) => path === "/operations").flatMap(({ body }) => body.operations);
    assert.deepEqual([...new Set(pushed.map(({ docId }) => docId))], ["two"]);
  } finally {
    await a.database.remove();
    await b.database.remove();
  }
});
