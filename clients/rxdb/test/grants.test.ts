import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Server, until } from "@syncflow-server/test-support";
import { converge, Device } from "./device.js";
import { RULES_OF_LISTS } from "./history.js";

/** A device whose user's lists change. The server sees that when it next asks for a token, which it does each time. */
interface User {
  device: Device;
  lists: string[];
}

let server: Server;
let devices: Device[] = [];
let tenants = 0;

before(async () => {
  server = await Server.start({ auth: true, settings: { RULES: RULES_OF_LISTS } });
});
afterEach(async () => {
  for (const device of devices) await device.database.remove();
  devices = [];
});
after(() => server.close());

/** Opens devices of one tenant. `before` is called before each request that is sent, and may answer it. */
async function open(
  tenant: string,
  before: (user: User, path: string, signal?: AbortSignal | null) => Promise<Response> | void = () => undefined,
): Promise<User> {
  const user: User = { device: undefined as never, lists: ["red"] };
  user.device = await Device.prepare(server, {
    tenant,
    options: {
      // The server takes a token for 30 seconds after its expiry, and the device asks for another one at once.
      token: () => server.token({ tenant, role: "writer", seconds: -5, claims: { lists: user.lists } }),
      fetch: async (url, init) => {
        const answer = before(user, String(url), init?.signal);
        if (answer) return answer;
        const headers = new Headers(init?.headers);
        const claims = { lists: user.lists };
        headers.set("authorization", `Bearer ${server.token({ tenant, role: "writer", claims })}`);
        return user.device.network.fetch(url, { ...init, headers });
      },
    },
  });
  devices.push(user.device);
  user.device.replicate();
  return user;
}

const newTenant = () => `grants-${tenants++}`;
const upsert = ({ device }: User, id: string, a: string) => device.notes.incrementalUpsert({ id, title: "red", a });
const isGone = ({ device }: User, id: string) => async () => !(await device.content()).has(id);

test("a document that left because a write was forbidden comes back, also if no pull saw that the user lost it", async () => {
  // The grants go for the length of a push.
  const a = await open(newTenant(), (user, path) => {
    if (isTaken) user.lists = path.endsWith("/operations") ? [] : ["red"];
  });
  let isTaken = false;
  await upsert(a, "one", "1");
  await a.device.inSync();
  isTaken = true;
  await upsert(a, "one", "2");
  await until("the write is refused", () => a.device.refused.length > 0);
  isTaken = false;
  a.lists = ["red"];
  await until("the document is back", async () => {
    a.device.replication.reSync();
    return (await a.device.content()).get("one")?.a === "1";
  });
});

test("a document that only left the device is not deleted on the server when the device starts again", async () => {
  const tenant = newTenant();
  let isTaken = false;
  let isCut = false;
  const a = await open(tenant, (user, path) => {
    if (isTaken) user.lists = path.endsWith("/operations") ? [] : ["red"];
    if (isCut && !path.endsWith("/operations")) throw new TypeError("request lost");
  });
  await upsert(a, "one", "1");
  await a.device.inSync();
  isTaken = true;
  isCut = true;
  await upsert(a, "one", "2");
  await until("the document has left", isGone(a, "one"));
  isTaken = false;
  a.lists = ["red"];
  await a.device.reload();
  isCut = false;
  await a.device.inSync();
  assert.deepEqual([...(await server.documents("notes", tenant)).keys()], ["one"]);
  const pushed = a.device.network.seen.filter(({ path }) => path === "/operations");
  assert.ok(pushed.every(({ body }) => body.operations.every(({ type }: any) => type !== "delete")));
});

test("a document of this device that left the view is not overwritten by a new one under its id", async () => {
  const tenant = newTenant();
  let isCut = false;
  const a = await open(tenant, (_, path) => {
    // The device never pulls its own write while it may see it.
    if (isCut && !path.endsWith("/operations")) throw new TypeError("request lost");
  });
  await a.device.inSync();
  isCut = true;
  await upsert(a, "one", "1");
  await until("the write is there", async () => (await server.documents("notes", tenant)).size === 1);
  a.lists = ["blue"];
  isCut = false;
  await until("the document has left", async () => {
    a.device.replication.reSync();
    return isGone(a, "one")();
  });
  // A pull that is cut off would hold up the push.
  await a.device.replication.awaitInSync();
  isCut = true;
  a.lists = ["red", "blue"];
  await a.device.notes.insert({ id: "one", title: "blue", a: "2" });
  await until("the conflict", () => a.device.conflicts.length > 0);
  isCut = false;
  await converge(a.device);
  assert.equal((await server.documents("notes", tenant)).get("one")?.["a"], "1");
});

test("a document that left because a write was forbidden is not overwritten by a new one under its id", async () => {
  const tenant = newTenant();
  // No wake-up comes, so no pull shows the first write.
  const a = await open(tenant, (_, path, signal) => {
    if (!path.endsWith("/changes/stream")) return undefined;
    return new Promise<Response>((_, failed) => signal?.addEventListener("abort", () => failed(new TypeError("request lost"))));
  });
  await a.device.replication.awaitInSync();
  await upsert(a, "one", "1");
  await until("the write is there", async () => (await server.documents("notes", tenant)).size === 1);
  a.lists = [];
  await upsert(a, "one", "2");
  await until("the document has left", isGone(a, "one"));
  a.lists = ["red"];
  await a.device.notes.insert({ id: "one", title: "red", a: "3" });
  await until("the conflict", () => a.device.conflicts.some(({ input }) => input.newDocumentState.a === "3"));
  await converge(a.device);
  assert.equal((await server.documents("notes", tenant)).get("one")?.["a"], "1");
});
