import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NO_FAULTS, Random, Server } from "@syncflow-server/test-support";
import { type Data, Device, isExpected } from "./device.js";

const CASES = Number(process.env["SYNCFLOW_CASES"] ?? 100);
const SEED = process.env["SYNCFLOW_SEED"];
const IDS = ["one", "two", "three"];
const STEPS = 40;
const SYNC_MAX_MS = 30;
const ROUNDS_MAX = 50;
/** A restore stops the server for all, so there are fewer of them. */
const RESTORES_OF = 6;

let server: Server;

before(async () => {
  server = await Server.start({ auth: true });
});
after(() => server.close());

async function play(random: Random, restores: boolean): Promise<void> {
  const tenant = `device-${random.seed}-${restores}`;
  const written = new Set<string>();
  const replaced = new Set<string>();
  const note = (values: Iterable<string>) => {
    for (const value of values) replaced.add(value);
  };
  let expires = 0;
  const token = () => server.token({ tenant, seconds: random.chance(expires) ? -120 : 3600 });
  const open = () => new Device(server, random, note, token);
  const devices = Array.from({ length: 2 + random.below(3) }, open);
  const restoreAt = restores ? [random.below(STEPS / 2), STEPS / 2 + random.below(STEPS / 2)] : [];
  const sync = async (device: Device, maxMs: number) => {
    try {
      await device.sync(AbortSignal.timeout(maxMs));
    } catch (error) {
      if (!isExpected(error)) throw error;
    }
  };
  for (let step = 0; step < STEPS; step++) {
    if (step === restoreAt[0]) await server.backUp();
    if (step === restoreAt[1]) await server.restore();
    const device = random.pick(devices);
    const action = random.below(20);
    if (action < 9) {
      const value = `v${written.size}`;
      written.add(value);
      device.edit(random.pick(IDS), "update", { [random.pick(["a", "b"])]: value });
    } else if (action < 11) device.edit(random.pick(IDS), "delete");
    else if (action < 12) device.network.online = !device.network.online;
    else if (action < 13) await server.compact(tenant);
    else if (action < 14) expires = random.next() / 2;
    else if (action < 15) {
      device.network.faults = { lostRequest: random.next() / 3, lostAnswer: random.next() / 2, busy: random.next() / 4 };
    } else await sync(device, !device.network.online || random.chance(0.3) ? SYNC_MAX_MS : 10_000);
  }
  expires = 0;
  for (const { network } of devices) Object.assign(network, { online: true, faults: NO_FAULTS });
  for (let round = 0; round < ROUNDS_MAX; round++) {
    for (const device of devices) await sync(device, 60_000);
    if (devices.every(({ outbox }) => outbox.length === 0)) break;
  }
  for (const device of devices) await sync(device, 60_000);
  const documents = await server.documents("notes", tenant);
  for (const device of devices) {
    assert.equal(device.outbox.length, 0, "nothing is stuck");
    const seen = IDS.flatMap((id) => {
      const data = device.view(id);
      return data ? [[id, data] as const] : [];
    });
    assert.deepEqual(new Map<string, Data>(seen), documents);
  }
  const alive = new Set([...documents.values()].flatMap((data) => Object.values(data)));
  assert.deepEqual([...written].filter((value) => !alive.has(value) && !replaced.has(value)), [], "lost without a word");
}

async function playAll(cases: number, restores: boolean): Promise<void> {
  const seeds = SEED === undefined ? Array.from({ length: cases }, (_, seed) => seed) : [Number(SEED)];
  const failures: string[] = [];
  for (const seed of seeds) {
    await play(new Random(seed), restores).catch((error) => failures.push(`SYNCFLOW_SEED=${seed}: ${error.stack}`));
  }
  if (failures.length > 0) throw new Error(failures.slice(0, 5).join("\n"));
}

test("random histories of devices converge, and no write is lost in silence", { timeout: 3_600_000 }, () =>
  playAll(CASES, false));

test("random histories with a restored database converge too", { timeout: 3_600_000 }, () =>
  playAll(Math.ceil(CASES / RESTORES_OF), true));
