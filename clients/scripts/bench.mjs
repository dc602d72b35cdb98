// Measures the packages on this machine: `npm run bench`. The figures are for comparisons of versions, side by side.
import { performance } from "node:perf_hooks";
import { SyncflowClient } from "@syncflow-server/client";
import { replicateSyncflow, withSyncflow } from "@syncflow-server/rxdb";
import { Server } from "@syncflow-server/test-support";
import { createRxDatabase } from "rxdb/plugins/core";
import { getRxStorageMemory } from "rxdb/plugins/storage-memory";

const DOCUMENTS = Number(process.argv[2] ?? 10_000);
const CHANGES = 50;

const schema = withSyncflow({
  version: 0,
  primaryKey: "id",
  type: "object",
  properties: { id: { type: "string", maxLength: 100 }, title: { type: "string" }, done: { type: "boolean" } },
  required: ["id", "title", "done"],
});
const document = (n) => ({ id: `todo-${n}`, title: `Something to do, number ${n}`, done: false });
const server = await Server.start();

let databases = 0;

async function open(batchSize) {
  const name = `bench-${(databases += 1)}`;
  const database = await createRxDatabase({ name, storage: getRxStorageMemory(), multiInstance: false });
  const { todos } = await database.addCollections({ todos: { schema } });
  return { database, todos, replicate: () => replicateSyncflow({ collection: todos, url: server.url, batchSize }) };
}

async function timed(work) {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function median(times) {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
}

function report(what, ms, floor) {
  const ratio = floor === undefined ? "" : `  ${(ms / floor).toFixed(2)} times the floor`;
  console.log(`${what.padEnd(56)} ${ms.toFixed(1).padStart(9)} ms${ratio}`);
}

const client = new SyncflowClient({ url: server.url, clientId: "bench" });
const edits = Array.from({ length: DOCUMENTS }, (_, n) =>
  ({ type: "insert", collection: "todos", docId: document(n).id, data: document(n), base: null }));
report(`push ${DOCUMENTS} documents without a database`, await timed(() => client.push(edits)));

// The floor of a first sync: the pages as they come, and the writes of the local database without a replication.
const pages = await timed(async () => {
  for await (const _ of client.pull({ cursor: null, collections: ["todos"] }));
});
const plain = await open();
const writes = await timed(() => plain.todos.bulkInsert(edits.map(({ data }) => data)));
report(`pull ${DOCUMENTS} documents without a database`, pages);
report(`write ${DOCUMENTS} documents into RxDB without a sync`, writes);
for (const batchSize of [100, 1000]) {
  const device = await open(batchSize);
  const sync = await timed(() => device.replicate().awaitInitialReplication());
  const found = await device.todos.count().exec();
  if (found !== DOCUMENTS) throw new Error(`${found} documents came`);
  report(`first sync of ${DOCUMENTS} into RxDB, batches of ${batchSize}`, sync, pages + writes);
  await device.database.remove();
}

// The floor of a change: the push, and the pull of it, one after the other.
const [writer, reader] = [await open(100), await open(100)];
await Promise.all([writer.replicate().awaitInitialReplication(), reader.replicate().awaitInitialReplication()]);
const floors = [];
const changes = [];
let cursor = (await client.pullPage({ cursor: null, limit: 1 })).cursor;
for await (const page of client.pull({ cursor })) cursor = page.cursor;
for (let n = 0; n < CHANGES; n++) {
  floors.push(await timed(async () => {
    await client.push([{ type: "insert", collection: "floor", docId: `${n}`, data: { n }, base: null }]);
    ({ cursor } = await client.pullPage({ cursor }));
  }));
  const id = `new-${n}`;
  const seen = new Promise((resolve) => {
    const subscription = reader.todos.findOne(id).$.subscribe((found) => {
      if (!found) return;
      subscription.unsubscribe();
      resolve();
    });
  });
  changes.push(await timed(async () => {
    await writer.todos.insert({ ...document(n), id });
    await seen;
  }));
}
report("push and pull of one change, median", median(floors));
report("from one client's write to the other's query, median", median(changes), median(floors));
await writer.database.remove();
await reader.database.remove();
await server.close();
process.exit(0);
