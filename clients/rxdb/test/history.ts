import type { Random, Server } from "@syncflow-server/test-support";
import { defaultConflictHandler, type RxConflictHandler } from "rxdb/plugins/core";
import { converge, Device, type Note } from "./device.js";

const IDS = ["one", "two", "three"];
const FIELDS = ["a", "b"] as const;
const STEPS = 30;
/** The lists that a user may have, if grants change. The title of a note says which one it is on. */
const LISTS = ["red", "blue"];

/** Rules by which a user sees the notes of the lists in its token. */
export const RULES_OF_LISTS = `
[labels]
list = { field = "title", claim = "lists" }
[collections.notes]
read = ["list"]
write = ["list"]
`;

/** What became of a value that was written: it is lost only if nobody saw it go. */
class Values {
  #next = 0;
  readonly written = new Set<string>();
  readonly #seenToGo = new Set<string>();

  fresh(): string {
    const value = `v${this.#next++}`;
    this.written.add(value);
    return value;
  }

  /** Notes that somebody replaced these values, having seen them. */
  replaced(values: Iterable<string | undefined>): void {
    for (const value of values) if (value) this.#seenToGo.add(value);
  }

  lost(documents: Iterable<object>): string[] {
    const alive = new Set([...documents].flatMap(valuesOf));
    return [...this.written].filter((value) => !alive.has(value) && !this.#seenToGo.has(value));
  }
}

function valuesOf(note: object | undefined): string[] {
  const { a, b, _deleted } = (note ?? {}) as Record<string, string | undefined>;
  return _deleted ? [] : [a, b].filter((value) => value !== undefined);
}

/** Keeps both edits where they are about different fields, and the local one otherwise. */
export const merging: RxConflictHandler<Note> = {
  isEqual: (a, b) => JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort()),
  async resolve({ newDocumentState: fork, realMasterState: master, assumedMasterState: assumed }) {
    if (master._deleted || fork._deleted) return master._deleted ? fork : master;
    const merged = { ...master };
    for (const field of FIELDS) {
      if (fork[field] !== undefined && fork[field] !== assumed?.[field]) merged[field] = fork[field];
    }
    return merged;
  },
};

/** Lets a conflict handler take its time. */
function slow(handler: RxConflictHandler<Note>, random: Random): RxConflictHandler<Note> {
  return {
    ...handler,
    async resolve(input, context) {
      if (random.chance(0.3)) await pauseUpTo(random, 30);
      return handler.resolve(input, context);
    },
  };
}

export interface HistoryOptions {
  /** Whether the database of the server is put back to a copy in the middle. */
  restores: boolean;
  /** Whether the lists that each user may see change. The server needs {@link RULES_OF_LISTS} then. */
  grants?: boolean;
}

/** Lets devices edit at random over a bad network. Throws if they do not converge, or if a write is lost in silence. */
export async function play(server: Server, random: Random, options: HistoryOptions): Promise<void> {
  const values = new Values();
  const tenant = `history-${random.seed}-${options.restores}-${options.grants ?? false}`;
  const conflictHandler = slow(random.chance(0.5) ? merging : defaultConflictHandler, random);
  const settings = { tenant, random, conflictHandler };
  let expires = 0;
  // The server takes a token for 30 seconds after its expiry. The device asks for another one at once, with new grants.
  const seconds = options.grants ? -5 : 3600;
  const tokenOf = (lists: string[]) => () =>
    server.token({
      tenant,
      role: options.grants ? "writer" : "admin",
      seconds: random.chance(expires) ? -120 : seconds,
      claims: { lists },
    });
  const devices: Device[] = [];
  const listsOf = new Map<Device, string[]>();
  for (let n = 0; n < 2 + random.below(2); n++) {
    const lists = [...LISTS];
    const token = tokenOf(lists);
    const device = await Device.open(server, { ...settings, options: { token, batchSize: 1 + random.below(4) } });
    listsOf.set(device, lists);
    devices.push(device);
  }
  const titles = options.grants ? LISTS : ["note"];
  const restoreAt = options.restores ? [random.below(STEPS / 2), STEPS / 2 + random.below(STEPS / 2)] : [];
  try {
    for (let step = 0; step < STEPS; step++) {
      if (step === restoreAt[0]) await server.backUp();
      if (step === restoreAt[1]) await server.restore();
      const device = random.pick(devices);
      const action = random.below(20);
      if (action < 12) await edit(device, random, values, titles);
      else if (action < 14) device.network.online = !device.network.online;
      else if (action < 15) await reload(device, values, random);
      else if (action < 16) await server.compact(tenant);
      else if (action < 17) expires = random.next() / 2;
      else if (action < 18) device.network.faults = faults(random);
      else if (options.grants) {
        listsOf.get(device)?.splice(0, LISTS.length, ...LISTS.filter(() => random.chance(0.5)));
      } else await pauseUpTo(random, 40);
      if (random.chance(0.3)) await pauseUpTo(random, 15);
    }
    expires = 0;
    for (const device of devices) {
      device.network.online = true;
      device.network.faults = { lostRequest: 0, lostAnswer: 0, busy: 0 };
      listsOf.get(device)?.splice(0, LISTS.length, ...LISTS);
    }
    await converge(...devices);
    for (const device of devices) note(device, values);
    const lost = values.lost((await server.documents("notes", tenant)).values());
    if (lost.length > 0) throw new Error(`lost without a word: ${lost.join(", ")}`);
  } finally {
    for (const device of devices) await device.database.remove();
  }
}

function faults(random: Random) {
  return { lostRequest: random.next() / 3, lostAnswer: random.next() / 2, busy: random.next() / 4 };
}

async function edit(device: Device, random: Random, values: Values, titles: readonly string[]): Promise<void> {
  const id = random.pick(IDS);
  const field = random.pick(FIELDS);
  const found = await device.notes.findOne(id).exec();
  if (!found) {
    const value = values.fresh();
    await device.notes.insert({ id, title: random.pick(titles), [field]: value }).catch(() => values.replaced([value]));
    return;
  }
  // The change may meet a state that came in since the document was read; it is made on that one.
  let before: object = {};
  if (random.chance(0.2)) {
    await found.incrementalModify((data) => {
      before = { ...data };
      return { ...data, _deleted: true };
    });
    values.replaced(valuesOf(before));
  } else {
    const value = values.fresh();
    const moved = titles.length > 1 && random.chance(0.3) ? { title: random.pick(titles) } : {};
    await found.incrementalModify((data) => {
      before = { ...data };
      return { ...data, ...moved, _deleted: false, [field]: value };
    });
    values.replaced([(before as Note)[field]]);
  }
}

async function reload(device: Device, values: Values, random: Random): Promise<void> {
  if (random.chance(0.3)) {
    device.loseNotes();
    await pauseUpTo(random, 20);
  }
  note(device, values);
  await device.reload();
}

/** Takes what the adapter reported: conflicts that were resolved, and writes that were refused. */
function note(device: Device, values: Values): void {
  for (const { input, output } of device.conflicts.splice(0)) {
    const kept = new Set(valuesOf(output));
    const seen = [...valuesOf(input.newDocumentState), ...valuesOf(input.realMasterState)];
    values.replaced(seen.filter((value) => !kept.has(value)));
  }
  for (const { document } of device.refused.splice(0)) values.replaced(valuesOf(document));
}

async function pauseUpTo(random: Random, milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, random.below(milliseconds)));
}
