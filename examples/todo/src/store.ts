import { logout, replicateSyncflow, withSyncflow } from "@syncflow-server/rxdb";
import { createRxDatabase, type RxCollection, type RxDatabase } from "rxdb/plugins/core";
import { getRxStorageDexie } from "rxdb/plugins/storage-dexie";
import { BehaviorSubject, combineLatest, map, type Observable } from "rxjs";
import { type Session, tokenOf } from "./session.ts";

export interface Todo {
  id: string;
  title: string;
  done: boolean;
  /** The list that it is on. The rules of the server decide by this field who may see it. */
  list: string;
  /** The user who wrote it last. */
  by: string;
  createdAt: number;
}

/** A write of this device that is not a part of the document now. It is kept here until the user has seen it. */
export interface Notice {
  id: string;
  kind: "conflict" | "refused";
  todo: Todo;
  /** The content that took its place, if there is one. */
  theirs?: Todo;
  message?: string;
}

export type Status = "synced" | "syncing" | "offline" | "other tab";

const text = { type: "string" } as const;
const todoSchema = withSyncflow<Todo>({
  version: 0,
  primaryKey: "id",
  type: "object",
  properties: {
    id: { type: "string", maxLength: 100 },
    title: text,
    done: { type: "boolean" },
    list: text,
    by: text,
    createdAt: { type: "number" },
  },
  required: ["id", "title", "done", "list", "by", "createdAt"],
});
const noticeSchema = {
  version: 0,
  primaryKey: "id",
  type: "object",
  properties: {
    id: { type: "string", maxLength: 200 },
    kind: text,
    todo: { type: "object", additionalProperties: true },
    theirs: { type: "object", additionalProperties: true },
    message: text,
  },
  required: ["id", "kind", "todo"],
} as const;

/** The todos of a user on this device, which the server has too when there is a network. */
export class Store {
  readonly #pending = new Set<string>();
  readonly #waiting = new BehaviorSubject(0);
  readonly #problem = new BehaviorSubject<string | undefined>(undefined);
  readonly #isReached = new BehaviorSubject(navigator.onLine);
  readonly #isLeader = new BehaviorSubject(false);
  readonly #replication;

  private constructor(
    readonly session: Session,
    readonly database: RxDatabase,
    readonly todos: RxCollection<Todo>,
    readonly notices: RxCollection<Notice>,
  ) {
    this.#replication = replicateSyncflow<Todo>({
      collection: todos as RxCollection<any>,
      url: session.url,
      token: () => tokenOf(session.user),
      backoff: { maxMs: 15_000 },
      // How each request ends says whether the server can be reached; the browser only knows of its own network.
      fetch: async (input, init) => {
        try {
          const answer = await fetch(input, init);
          this.#isReached.next(answer.status < 500);
          return answer;
        } catch (error) {
          if (!init?.signal?.aborted || error instanceof TypeError) this.#isReached.next(false);
          throw error;
        }
      },
    });
    addEventListener("offline", () => this.#isReached.next(false));
    void database.waitForLeadership().then(() => this.#isLeader.next(true));
    this.#replication.conflict$.subscribe(({ input, output }) => {
      const [mine, theirs] = [todoOf(input.newDocumentState), todoOf(output)];
      if (!input.newDocumentState._deleted && differences(mine, theirs).length > 0) {
        void this.#notice({ kind: "conflict", todo: mine, ...(output._deleted ? {} : { theirs }) });
      }
    });
    this.#replication.refused$.subscribe(({ document, message }) => {
      void this.#notice({ kind: "refused", todo: todoOf(document), message });
    });
    this.#replication.error$.subscribe((error) => {
      const [inner] = (error.parameters as { errors?: { message: string }[] }).errors ?? [];
      this.#problem.next(inner?.message ?? error.message);
    });
  }

  static async open(session: Session): Promise<Store> {
    const database = await createRxDatabase({ name: `todo-${session.user}`, storage: getRxStorageDexie() });
    const { todos, notices } = await database.addCollections({
      todos: { schema: todoSchema },
      notices: { schema: noticeSchema as any },
    });
    return new Store(session, database, todos as any, notices as any);
  }

  get status$(): Observable<Status> {
    return combineLatest([this.#replication.active$, this.#isReached, this.#isLeader]).pipe(
      map(([isActive, isReached, isLeader]) => {
        if (!isReached || !navigator.onLine) return "offline";
        if (!isLeader) return "other tab";
        return isActive ? "syncing" : "synced";
      }),
    );
  }

  /** How many todos this tab has changed that the server does not have yet. */
  get waiting$(): Observable<number> {
    return this.#waiting.asObservable();
  }

  get problem$(): Observable<string | undefined> {
    return this.#problem.asObservable();
  }

  async add(list: string, title: string): Promise<void> {
    const id = crypto.randomUUID();
    this.#wait(id);
    await this.todos.insert({ id, title, done: false, list, by: this.session.user, createdAt: Date.now() });
  }

  async change(id: string, changes: Partial<Todo>): Promise<void> {
    const todo = await this.todos.findOne(id).exec();
    this.#wait(id);
    await todo?.incrementalPatch({ ...changes, by: this.session.user });
  }

  async remove(id: string): Promise<void> {
    const todo = await this.todos.findOne(id).exec();
    this.#wait(id);
    await todo?.incrementalRemove();
  }

  /** Writes what the user had written over what took its place. */
  async keepMine({ id, todo }: Notice): Promise<void> {
    const { id: todoId, ...mine } = todo;
    if (await this.todos.findOne(todoId).exec()) await this.change(todoId, mine);
    else await this.todos.insert({ ...todo, by: this.session.user });
    await this.dismiss(id);
  }

  async dismiss(id: string): Promise<void> {
    await (await this.notices.findOne(id).exec())?.remove();
  }

  /** Removes everything of this user from the device. */
  async wipe(): Promise<void> {
    await logout(this.database);
  }

  async #notice(notice: Omit<Notice, "id">): Promise<void> {
    // A newer one about the same todo takes the place of an older one.
    await this.notices.incrementalUpsert({ ...notice, id: `${notice.kind}-${notice.todo.id}` });
  }

  #wait(id: string): void {
    this.#pending.add(id);
    this.#waiting.next(this.#pending.size);
    const seen = [...this.#pending];
    void this.#replication.awaitInSync().then(() => {
      for (const settled of seen) this.#pending.delete(settled);
      this.#waiting.next(this.#pending.size);
    });
  }
}

const SHOWN = ["title", "done", "list"] as const;

/** The fields in which a user would see a difference. */
export function differences(a: Todo, b: Todo): string[] {
  return SHOWN.filter((field) => a[field] !== b[field]);
}

function todoOf(state: object): Todo {
  const { id, title, done, list, by, createdAt } = state as Todo;
  return { id, title, done, list, by, createdAt };
}
