import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { freePort, Server, until } from "@syncflow-server/test-support";
import { SyncflowClient, Wakeups } from "../src/index.js";
import { fast } from "./support.js";

let server: Server;
let running: Wakeups[] = [];

before(async () => {
  // It starts again at the same address.
  server = await Server.start({ auth: true, settings: { PORT: String(await freePort()) } });
});
afterEach(() => {
  for (const wakeups of running) wakeups.close();
  running = [];
});
after(() => server.close());

function start(tenant: string, token: () => string) {
  const client = new SyncflowClient({ url: server.url, clientId: `listener-${tenant}`, token, backoff: fast });
  const wakeups = new Wakeups(client, { poll: { minMs: 1, maxMs: 20 } });
  running.push(wakeups);
  const woken = { times: 0 };
  wakeups.add({ wake: () => woken.times++ });
  return { wakeups, woken };
}

let edits = 0;

async function write(tenant: string): Promise<void> {
  const clientId = "writer";
  const number = (edits += 1);
  const operation = {
    id: `op-${number}`, type: "insert", collection: "notes", docId: `doc-${number}`, data: {}, timestamp: 1, clientId,
    vectorClock: { [clientId]: 1 },
  };
  await server.ask("/operations", { clientId, operations: [operation] }, tenant);
}

test("a stream of the real server wakes for each change of the tenant, and for no other one's", async () => {
  const { wakeups, woken } = start("red", () => server.token({ tenant: "red" }));
  const other = start("blue", () => server.token({ tenant: "blue" }));
  // Each is woken when its stream begins, and by the first event, which comes at once.
  await until("both streams", () => woken.times > 1 && other.woken.times > 1);
  const silent = other.woken.times;
  for (let changes = 0; changes < 3; changes++) {
    const before = woken.times;
    await write("red");
    await until("the wake-up", () => woken.times > before);
  }
  assert.equal(other.woken.times, silent);
  const before = other.woken.times;
  await write("blue");
  await until("the other one's wake-up", () => other.woken.times > before);
  assert.equal(wakeups.mode, "stream");
});

test("a stream whose token expires is opened again with a new one", async () => {
  let made = 0;
  // The server takes a token for 30 seconds after its expiry, so this one ends the stream in a moment.
  const { wakeups, woken } = start("green", () => server.token({ tenant: "green", seconds: made++ === 0 ? -28 : 600 }));
  await until("the first stream", () => woken.times > 0);
  await until("another token", () => made > 1);
  const before = woken.times;
  await write("green");
  await until("the wake-up", () => woken.times > before);
  assert.equal(wakeups.mode, "stream");
});

test("a stream is opened again when the server has been killed and starts again", async () => {
  const { wakeups, woken } = start("grey", () => server.token({ tenant: "grey" }));
  await until("the first stream", () => woken.times > 0);
  await server.crash();
  const before = woken.times;
  await write("grey");
  await until("the wake-up", () => woken.times > before);
  assert.equal(wakeups.mode, "stream");
});
