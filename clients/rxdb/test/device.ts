import { ADDRESS, Network, Random, type Server, until } from "@syncflow-server/test-support";
import { createRxDatabase, overwritable, type RxCollection, type RxConflictHandler, type RxDatabase } from "rxdb/plugins/core";
import { getRxStorageMemory } from "rxdb/plugins/storage-memory";
import { wrappedValidateAjvStorage } from "rxdb/plugins/validate-ajv";
import { type LostWrite, type RefusedWrite, replicateSyncflow, type SyncflowOptions, withSyncflow } from "../src/index.js";

export interface Note {
  id: string;
  title: string;
  a?: string;
  b?: string;
}

const schema = withSyncflow<Note>({
  version: 0,
  primaryKey: "id",
  type: "object",
  properties: {
    id: { type: "string", maxLength: 300 },
    title: { type: "string" },
    a: { type: "string" },
    b: { type: "string" },
  },
  required: ["id", "title"],
  additionalProperties: false,
});

export interface Settings {
  tenant?: string;
  collection?: string;
  random?: Random;
  conflictHandler?: RxConflictHandler<Note>;
  /** Whether the database may be open in several tabs. */
  hasTabs?: boolean;
  options?: Partial<SyncflowOptions<any>>;
}

let names = 0;

/** A device with an RxDB of its own. Its storage survives that it is closed. */
export class Device {
  name = `device-${process.pid}-${names++}`;
  readonly network: Network;
  readonly refused: RefusedWrite[] = [];
  readonly lost: LostWrite[] = [];
  readonly conflicts: { input: any; output: any }[] = [];
  readonly errors: any[] = [];
  database!: RxDatabase;
  notes!: RxCollection<Note>;
  replication!: ReturnType<typeof replicateSyncflow<Note>>;

  private constructor(readonly server: Server, readonly settings: Settings) {
    this.network = new Network(server, settings.random ?? new Random(1));
  }

  static async open(server: Server, settings: Settings = {}): Promise<Device> {
    const device = new Device(server, settings);
    await device.openDatabase();
    device.replicate();
    return device;
  }

  /** A device whose replication has not begun. */
  static async prepare(server: Server, settings: Settings = {}): Promise<Device> {
    const device = new Device(server, settings);
    await device.openDatabase();
    return device;
  }

  /** Another tab with the same database. */
  async openTab(): Promise<Device> {
    const tab = new Device(this.server, this.settings);
    tab.name = this.name;
    await tab.openDatabase();
    return tab;
  }

  async openDatabase(): Promise<void> {
    const storage = wrappedValidateAjvStorage({ storage: getRxStorageMemory() });
    const { collection = "notes", conflictHandler, hasTabs: multiInstance = false } = this.settings;
    const { isDevMode } = overwritable;
    // Only then does RxDB open a database twice in one process.
    if (multiInstance) overwritable.isDevMode = () => true;
    const created = createRxDatabase({
      name: this.name, storage, multiInstance, ignoreDuplicate: multiInstance, eventReduce: false,
    });
    overwritable.isDevMode = isDevMode;
    this.database = await created;
    const settings = conflictHandler ? { schema, conflictHandler } : { schema };
    const collections = await this.database.addCollections({ [collection]: settings as any });
    this.notes = collections[collection] as unknown as RxCollection<Note>;
  }

  replicate(): void {
    this.replication = replicateSyncflow<Note>({
      collection: this.notes,
      url: ADDRESS,
      token: () => this.server.token({ tenant: this.settings.tenant ?? "default" }),
      fetch: this.network.fetch,
      backoff: { minMs: 1, maxMs: 20 },
      retryTime: 20,
      wakeups: { poll: { minMs: 10, maxMs: 100 } },
      ...this.settings.options,
    });
    this.replication.refused$.subscribe((write) => this.refused.push(write));
    this.replication.lost$.subscribe((write) => this.lost.push(write));
    this.replication.conflict$.subscribe((conflict) => this.conflicts.push(conflict));
    this.replication.error$.subscribe((error) => this.errors.push(error));
  }

  async close(): Promise<void> {
    await this.database.close();
  }

  async reload(): Promise<void> {
    await this.close();
    await this.openDatabase();
    this.replicate();
  }

  /** Loses what RxDB notes about pulled and pushed documents until the device starts again, but not the documents. */
  loseNotes(): void {
    const meta = this.replication.metaInstance as any;
    if (meta) meta.bulkWrite = async () => ({ error: [] });
  }

  /** What the application sees. */
  async content(): Promise<Map<string, Omit<Note, never>>> {
    const found = await this.notes.find().exec();
    return new Map(found.map((document) => {
      const { syncflow: _, ...note } = document.toJSON() as any;
      return [note.id, note];
    }));
  }

  /** Waits until what is here, and nothing else, is on the server. */
  async inSync(): Promise<void> {
    const { collection = "notes", tenant } = this.settings;
    await until(`${this.name} is in sync`, async () => {
      this.replication.reSync();
      await this.replication.awaitInSync();
      return same(await this.content(), await this.server.documents(collection, tenant));
    });
  }
}

export function same(a: Map<string, object>, b: Map<string, object>): boolean {
  return text(a) === text(b);
}

export function text(documents: Map<string, object>): string {
  const sorted = [...documents].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(sorted.map(([id, document]) => [id, Object.entries(document).sort()]));
}

/** Waits until all devices and the server have the same documents. */
export async function converge(...devices: Device[]): Promise<void> {
  await until("all devices converge", async () => {
    for (const device of devices) {
      device.replication.reSync();
      await device.replication.awaitInSync();
    }
    const [first] = devices;
    const { collection = "notes", tenant } = first!.settings;
    const documents = await first!.server.documents(collection, tenant);
    for (const device of devices) if (!same(await device.content(), documents)) return false;
    return true;
  });
}
