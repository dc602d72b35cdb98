import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Server } from "@syncflow-server/test-support";
import { converge, Device, type Settings } from "./device.js";

let server: Server;
let devices: Device[] = [];

before(async () => {
  server = await Server.start({ auth: true });
});
afterEach(async () => {
  for (const device of devices) await device.close();
  devices = [];
});
after(() => server.close());

async function open(settings: Settings): Promise<Device> {
  const device = await Device.open(server, settings);
  devices.push(device);
  return device;
}

test("two devices share what they write", async () => {
  const tenant = "share";
  const [a, b] = [await open({ tenant }), await open({ tenant })];
  await a.notes.insert({ id: "one", title: "Buy milk" });
  await converge(a, b);
  assert.equal((await b.content()).get("one")?.title, "Buy milk");
  await (await b.notes.findOne("one").exec(true)).incrementalPatch({ title: "Buy oat milk" });
  await converge(a, b);
  assert.equal((await a.content()).get("one")?.title, "Buy oat milk");
  await (await a.notes.findOne("one").exec(true)).remove();
  await converge(a, b);
  assert.equal((await b.content()).size, 0);
  assert.deepEqual([a.conflicts, b.conflicts, a.errors, b.errors], [[], [], [], []]);
});
