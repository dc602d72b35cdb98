import { type HttpOptions, SyncflowClient, SyncflowError, type Token, Wakeups, type WakeupOptions } from "@syncflow-server/client";
import type { RxDatabase } from "rxdb/plugins/core";
import { Identity } from "./identity.js";

/** How a database reaches its server. All collections of a database share the first one's. */
export interface ConnectionOptions extends HttpOptions {
  waitForLeadership?: boolean;
  wakeups?: WakeupOptions;
}

/** What all replications of a database share: one client, one identity, one stream of wake-ups. */
export class Connection {
  readonly client: Promise<SyncflowClient>;
  readonly wakeups: Promise<Wakeups>;
  readonly identity: Promise<Identity>;
  readonly #users = new Set<object>();

  private constructor(readonly database: RxDatabase, options: ConnectionOptions) {
    // A tab that does not replicate needs no stream. A browser has six connections to a server for all tabs together.
    const waits = (options.waitForLeadership ?? true) && database.multiInstance;
    const leads = waits ? database.waitForLeadership() : Promise.resolve(true);
    // Not before that, because the tab that leads now goes on to change what is stored.
    this.identity = leads.then(() => Identity.open(database));
    this.client = this.identity.then((identity) => {
      const { token, wakeups: _, waitForLeadership: __, ...http } = options;
      const own = token === undefined ? {} : { token: () => tokenOf(token, identity) };
      return new SyncflowClient({ ...http, ...own, clientId: identity.clientId });
    });
    this.wakeups = this.client.then((client) => new Wakeups(client, options.wakeups));
    // The callers see the error.
    this.wakeups.catch(() => undefined);
  }

  /** The connection of a database, which is made for its first user and closed after its last. */
  static of(database: RxDatabase, user: object, options: ConnectionOptions): Connection {
    const connection = connections.get(database) ?? new Connection(database, options);
    connections.set(database, connection);
    connection.#users.add(user);
    return connection;
  }

  /** Whether this user speaks for the database where only one may. */
  isFirst(user: object): boolean {
    return this.#users.values().next().value === user;
  }

  leave(user: object): void {
    this.#users.delete(user);
    if (this.#users.size > 0) return;
    if (connections.get(this.database) === this) connections.delete(this.database);
    this.wakeups.then((wakeups) => wakeups.close(), () => undefined);
  }
}

const connections = new WeakMap<RxDatabase, Connection>();

/**
 * The token, if it is of the user whose data the database has. After a reset the adapter pushes what the device holds,
 * and must not push one user's documents to another user's tenant.
 */
async function tokenOf(source: Token, identity: Identity): Promise<string | undefined> {
  const token = typeof source === "function" ? await source() : source;
  const subject = subjectOf(token);
  if (subject !== undefined && !(await identity.belongsTo(subject))) {
    throw new SyncflowError(401, "other_user", "the local database has the data of another user; log out first");
  }
  return token;
}

function subjectOf(token: string | undefined): string | undefined {
  try {
    const payload = (token?.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { sub } = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0))));
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}
