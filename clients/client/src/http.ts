import { type Backoff, pauseMs, retryAfterMs, sleep } from "./backoff.js";
import { CursorGone, errorOf, SyncflowError } from "./errors.js";
import { type Token, Tokens } from "./tokens.js";

/** How requests are made. */
export interface HttpOptions {
  /** The address of the server, with the prefix of its routes if they have one. */
  url: string;
  token?: Token;
  /** The tenant, for tokens that name several. */
  tenant?: string;
  fetch?: typeof fetch;
  backoff?: Partial<Backoff>;
  /** How long one attempt may take. */
  attemptMaxMs?: number;
  /** From this size on, bodies are compressed. */
  compressFromBytes?: number;
  /** Is told of each attempt that failed and will be made again. */
  onRetry?: (error: unknown, pauseMs: number) => void;
}

const BACKOFF: Backoff = { minMs: 500, maxMs: 60_000 };
const ATTEMPT_MAX_MS = 60_000;
const COMPRESS_FROM_BYTES = 16 * 1024;
/** The same request may have another answer later. */
const TRY_AGAIN = new Set([408, 425, 429, 502, 503, 504]);

/** Sends requests until they are answered: over lost networks, busy servers and expired tokens. */
export class Http {
  readonly #options: HttpOptions;
  readonly #tokens: Tokens;
  readonly #backoff: Backoff;
  readonly #url: string;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.#tokens = new Tokens(options.token);
    this.#backoff = { ...BACKOFF, ...options.backoff };
    this.#url = options.url.replace(/\/+$/, "");
  }

  /** Posts JSON and returns the JSON of the answer. */
  async post(path: string, text: string, signal?: AbortSignal, extraMs = 0): Promise<unknown> {
    const body = await this.#encode(text);
    for (let attempt = 0; ; attempt++) {
      let failure: unknown;
      let askedMs = 0;
      try {
        const limit = AbortSignal.timeout((this.#options.attemptMaxMs ?? ATTEMPT_MAX_MS) + extraMs);
        const { answer, token } = await this.#send(path, body, signal ? AbortSignal.any([signal, limit]) : limit);
        if (answer.ok) return await answer.json();
        const error = errorOf(answer.status, await answer.json().catch(() => undefined));
        // The token of an answer to the first attempt may have been withdrawn; a second one is not tried for ever.
        if (answer.status === 401 && attempt === 0 && this.#tokens.refuse(token)) continue;
        if (error instanceof CursorGone) error.mayHaveTakenEffect = attempt > 0;
        if (!TRY_AGAIN.has(answer.status)) throw error;
        failure = error;
        askedMs = retryAfterMs(answer.headers.get("retry-after"));
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof SyncflowError) throw error;
        failure = error;
      }
      const pause = pauseMs(this.#backoff, attempt, askedMs);
      this.#options.onRetry?.(failure, pause);
      await sleep(pause, signal);
    }
  }

  /** Opens a stream of events, once: who reads it decides about another attempt. */
  async open(path: string, signal: AbortSignal): Promise<Response> {
    const { answer, token } = await this.#send(path, undefined, signal);
    if (answer.status === 401) this.#tokens.refuse(token);
    return answer;
  }

  async #send(path: string, body: Body | undefined, signal: AbortSignal) {
    const token = await this.#tokens.current(signal);
    const headers = new Headers(body?.headers ?? { accept: "text/event-stream" });
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    if (this.#options.tenant !== undefined) headers.set("x-syncflow-tenant", this.#options.tenant);
    const send = this.#options.fetch ?? globalThis.fetch;
    const init: RequestInit = { headers, signal, cache: "no-store" };
    const answer = await send(this.#url + path, body ? { ...init, method: "POST", body: body.content } : init);
    return { answer, token };
  }

  async #encode(text: string): Promise<Body> {
    const headers = { "content-type": "application/json" };
    const least = this.#options.compressFromBytes ?? COMPRESS_FROM_BYTES;
    if (text.length < least || !("CompressionStream" in globalThis)) return { content: text, headers };
    const compressed = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
    const content = await new Response(compressed).arrayBuffer();
    return { content, headers: { ...headers, "content-encoding": "gzip" } };
  }
}

interface Body {
  content: string | ArrayBuffer;
  headers: Record<string, string>;
}
