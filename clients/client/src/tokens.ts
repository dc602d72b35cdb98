/** A token, or a function that gets one from the application's own backend. */
export type Token = string | (() => string | undefined | Promise<string | undefined>);

/** A token is replaced this long before it expires, so that none expires on its way. */
const EARLY_MS = 30_000;

/** Keeps a token until shortly before it expires. */
export class Tokens {
  readonly #source: Token | undefined;
  #kept: { token: string | undefined; untilMs: number } | undefined;
  #asked: Promise<string | undefined> | undefined;

  constructor(source: Token | undefined) {
    this.#source = source;
  }

  /**
   * The token for a request. All requests that need a new one at the same time share one call. If a request is given up
   * before the call has ended, the next one makes another: an application's request may hang on a dead network.
   */
  async current(signal: AbortSignal): Promise<string | undefined> {
    const source = this.#source;
    if (typeof source !== "function") return source;
    if (this.#kept && Date.now() < this.#kept.untilMs) return this.#kept.token;
    if (!this.#asked) {
      const asked = this.#ask(source).finally(() => {
        if (this.#asked === asked) this.#asked = undefined;
      });
      this.#asked = asked;
    }
    const asked = this.#asked;
    return new Promise((found, failed) => {
      const giveUp = () => {
        if (this.#asked === asked) this.#asked = undefined;
        failed(signal.reason);
      };
      if (signal.aborted) return giveUp();
      signal.addEventListener("abort", giveUp, { once: true });
      asked.then(found, failed).finally(() => signal.removeEventListener("abort", giveUp));
    });
  }

  async #ask(source: () => string | undefined | Promise<string | undefined>): Promise<string | undefined> {
    const token = await source();
    this.#kept = { token, untilMs: untilMs(token) };
    return token;
  }

  /** Forgets a token that the server did not take. Returns whether another one can be had. */
  refuse(token: string | undefined): boolean {
    if (typeof this.#source !== "function") return false;
    if (this.#kept?.token === token) this.#kept = undefined;
    return true;
  }
}

/** When a token must be replaced. The server checks the signature; here only the time matters. */
function untilMs(token: string | undefined): number {
  const now = Date.now();
  const expiry = expiryMs(token);
  // A token that lives for a minute is used for half of that.
  return expiry === undefined ? Infinity : expiry - Math.min(EARLY_MS, Math.max(0, (expiry - now) / 2));
}

/** The claim `exp` of a JSON Web Token. */
export function expiryMs(token: string | undefined): number | undefined {
  try {
    const payload = token?.split(".")[1] ?? "";
    const { exp } = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
