import { Http, type HttpOptions } from "./http.js";
import type { Base, Edit, Page, PushResult } from "./protocol.js";
import { Pusher, type PushOptions, type PushRequest } from "./push.js";

export interface ClientOptions extends HttpOptions, PushOptions {
  /**
   * The name of this local database in clocks. No other local database may have it, so it is made at random when the
   * database is created, and kept inside it.
   */
  clientId: string;
}

export interface PullRequest {
  /** The cursor of the last page that was stored, or `null` to start from nothing. */
  cursor: string | null;
  /** Whether to get each changed document once and whole, which is the default, or every operation. */
  as?: "documents" | "operations";
  /** The only collections whose documents are wanted. */
  collections?: readonly string[];
  /** The most changes of a page. */
  limit?: number;
  /** How many seconds to wait for a change if there is none; servers that cannot wait answer at once. */
  wait?: number;
  /** Off for all but one cursor of a client with several, since the server counts the progress of one. */
  countsProgress?: boolean;
  signal?: AbortSignal;
}

const PAGE_OPERATIONS = 1000;

/** Speaks the protocol. It stores nothing. */
export class SyncflowClient {
  readonly clientId: string;
  /** @internal */
  readonly http: Http;
  readonly #pusher: Pusher;

  constructor(options: ClientOptions) {
    this.clientId = options.clientId;
    this.http = new Http(options);
    this.#pusher = new Pusher(this.http, options.clientId, options);
  }

  /** Whether `baseRev` is used, or `undefined` before the first push that shows whether the server knows it. */
  get knowsBaseRev(): boolean | undefined {
    return this.#pusher.knowsBaseRev;
  }

  /**
   * Pulls page after page until there is no more. The caller stores the changes of a page and its cursor together,
   * before it asks for the next one. Throws {@link CursorGone} if the cursor is of another log.
   */
  async *pull(request: PullRequest): AsyncGenerator<Page, void, void> {
    let { cursor } = request;
    for (;;) {
      const page = await this.pullPage({ ...request, cursor });
      yield page;
      if (!page.hasMore) return;
      cursor = page.cursor;
    }
  }

  /** Pulls one page. It may be short, or empty, and more may follow all the same: `hasMore` says so. */
  async pullPage(request: PullRequest): Promise<Page> {
    const { cursor, as = "documents", collections, limit = PAGE_OPERATIONS, wait, countsProgress = true } = request;
    const body = { cursor, as, collections, limit, wait, clientId: countsProgress ? this.clientId : undefined };
    return (await this.http.post("/changes", JSON.stringify(body), request.signal, (wait ?? 0) * 1000)) as Page;
  }

  /**
   * Pushes edits in their order, in batches, until the server has decided about each. Network faults are waited out,
   * and the ids stay the same meanwhile, so that nothing takes effect twice.
   *
   * Edits name the revisions of their bases. Those of pulled bases need `cursor`; without it, and if a revision says
   * nothing, clocks are sent. Throws {@link CursorGone} if the log is another one: pull before the next push.
   */
  push(edits: readonly Edit[], request: PushRequest = {}): Promise<PushResult> {
    return this.#pusher.push(edits, request);
  }

  /** Whether an edit with this base would name its revision, so that it is made on exactly this state or not at all. */
  namesRevision(base: Base | null, cursor: string | null): boolean {
    return this.#pusher.namesRevision(base, cursor);
  }
}
