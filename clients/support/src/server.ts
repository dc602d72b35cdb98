import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const START_MAX_MS = 60_000;
const STOP_MAX_MS = 60_000;
const DATABASE = "syncflow.db";

const here = dirname(fileURLToPath(import.meta.url));
const program = process.env["SYNCFLOW_SERVER"] ?? resolve(here, "../../../../target/debug/local");

/** The stores that a server can have. All but SQLite need a database, which `local-dev/test` starts. */
export type StoreName = "sqlite" | "postgres" | "mongodb";

/** The stores whose database is there. */
export function stores(): StoreName[] {
  const has = (variable: string) => process.env[variable] !== undefined;
  return [
    "sqlite",
    ...(has("TEST_POSTGRES_URL") ? ["postgres" as const] : []),
    ...(has("TEST_MONGO_URI") ? ["mongodb" as const] : []),
  ];
}

/** A server as a process of its own, over a SQLite file, a schema or a database of its own. */
export class Server {
  readonly #settings: Record<string, string>;
  readonly #secret = randomBytes(32).toString("hex");
  #process: ChildProcess | undefined;
  #url = "";

  private constructor(readonly directory: string, settings: Record<string, string>) {
    this.#settings = settings;
  }

  /** Starts a server. With `auth`, requests need a token of {@link Server.token}. */
  static async start(options: ServerOptions = {}): Promise<Server> {
    const directory = await mkdtemp(join(tmpdir(), "syncflow-client-"));
    const server = new Server(directory, { ...storeSettings(options.store ?? "sqlite", directory), ...options.settings });
    if (options.auth) {
      server.#settings["AUTH_HS256_SECRET"] = server.#secret;
      server.#settings["AUTH_TENANT_CLAIM"] = "tenant";
    }
    await server.#run();
    return server;
  }

  /** Where the server listens now; it changes when the server starts again. */
  get url(): string {
    return this.#url;
  }

  /** A token that expires after so many seconds. */
  token(wanted: { tenant?: unknown; subject?: string; role?: string; seconds?: number; claims?: object } = {}): string {
    const { tenant = "default", subject = "tester", role = "admin", seconds = 3600, claims = {} } = wanted;
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
    const payload = { ...claims, sub: subject, tenant, role, exp: Math.floor(Date.now() / 1000) + seconds };
    const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(payload)}`;
    return `${signed}.${createHmac("sha256", this.#secret).update(signed).digest("base64url")}`;
  }

  /** Sends a request of the test itself, which no fault of the network concerns. */
  async ask(path: string, body?: unknown, tenant = "default"): Promise<any> {
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (this.#settings["AUTH_HS256_SECRET"]) headers["authorization"] = `Bearer ${this.token({ tenant, role: "service" })}`;
    const init: RequestInit = { headers, signal: AbortSignal.timeout(60_000) };
    if (body !== undefined) Object.assign(init, { method: "POST", body: JSON.stringify(body) });
    const answer = await fetch(this.#url + path, init);
    if (!answer.ok && answer.status !== 404) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** All documents of a collection by their ids, without what the server adds to them. */
  async documents(collection: string, tenant?: string): Promise<Map<string, Record<string, unknown>>> {
    const found = new Map<string, Record<string, unknown>>();
    let cursor: string | null = null;
    do {
      const page: any = await this.ask(`/documents/${collection}/query`, { cursor }, tenant);
      for (const { _id, _rev, ...data } of page.documents) found.set(_id, data);
      cursor = page.hasMore ? page.cursor : null;
    } while (cursor !== null);
    return found;
  }

  async compact(tenant?: string): Promise<void> {
    while ((await this.ask("/compact", { olderThanDays: 0 }, tenant)).hasMore);
  }

  /** Copies the database; the server stands still meanwhile. */
  async backUp(): Promise<void> {
    await this.#stop();
    await copyFile(this.#database, this.#backup);
    await this.#run();
  }

  /** Puts the database back to the last copy. */
  async restore(): Promise<void> {
    await this.#stop();
    for (const suffix of ["", "-wal", "-shm"]) await rm(this.#database + suffix, { force: true });
    await copyFile(this.#backup, this.#database);
    await this.#run();
  }

  /** Kills the server without a warning and starts it again. */
  async crash(): Promise<void> {
    await this.#stop("SIGKILL");
    await this.#run();
  }

  /** Kills the server, and starts it again when the work is done. */
  async whileDown(work: () => Promise<void>): Promise<void> {
    await this.#stop("SIGKILL");
    try {
      await work();
    } finally {
      await this.#run();
    }
  }

  async close(): Promise<void> {
    await this.#stop("SIGKILL");
    await rm(this.directory, { recursive: true, force: true });
    const schema = this.#settings["POSTGRES_SCHEMA"];
    const psql = process.env["TEST_POSTGRES_BIN"];
    if (!schema || !psql) return;
    const url = this.#settings["POSTGRES_CONNECTION_STRING"] ?? "";
    spawnSync(join(psql, "psql"), [url, "--quiet", "--command", `DROP SCHEMA "${schema}" CASCADE`], { stdio: "ignore" });
  }

  get #database(): string {
    return join(this.directory, DATABASE);
  }

  get #backup(): string {
    return join(this.directory, "backup.db");
  }

  async #run(): Promise<void> {
    const child = spawn(program, [], {
      cwd: this.directory,
      env: { PORT: "0", LOG_LEVEL: "warn", ...this.#settings },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    running.add(child);
    child.once("exit", () => running.delete(child));
    this.#url = await new Promise<string>((found, failed) => {
      let said = "";
      const timer = setTimeout(() => failed(new Error(`the server does not start: ${said}`)), START_MAX_MS);
      child.stdout?.on("data", (bytes: Buffer) => {
        said += bytes.toString();
        const url = /^listening +(\S+)$/m.exec(said)?.[1];
        if (url === undefined) return;
        clearTimeout(timer);
        found(url);
      });
      child.once("error", failed);
      child.once("exit", (code) => failed(new Error(`the server ended with ${code}: ${said}`)));
    });
  }

  async #stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MAX_MS);
    await ended;
    clearTimeout(timer);
  }
}

export interface ServerOptions {
  /** Whether requests need a token of {@link Server.token}. */
  auth?: boolean;
  settings?: Record<string, string>;
  store?: StoreName;
}

function storeSettings(store: StoreName, directory: string): Record<string, string> {
  const name = `clients_${randomBytes(6).toString("hex")}`;
  switch (store) {
    case "sqlite":
      return { ADAPTER: store, SQLITE_PATH: join(directory, DATABASE) };
    case "postgres":
      return { POSTGRES_CONNECTION_STRING: process.env["TEST_POSTGRES_URL"] ?? "", POSTGRES_SCHEMA: name };
    case "mongodb":
      return { MONGO_URI: process.env["TEST_MONGO_URI"]?.split(" ")[0] ?? "", MONGO_DB_NAME: name };
  }
}

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
