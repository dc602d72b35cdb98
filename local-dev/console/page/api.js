// The requests of the console: those of the public API, and no others.

const STORED = "syncflow-console";
const REQUEST_MAX_MS = 40_000;

export class Problem extends Error {
  constructor(status, body) {
    super(body.message ?? `the server answered ${status}`);
    this.status = status;
    this.kind = body.error ?? "";
    this.reason = body.reason;
  }
}

/** Who asks. It is kept for as long as the tab is open. */
export class Session {
  constructor({ token = "", tenant = "" } = {}) {
    this.token = token;
    this.tenant = tenant;
  }

  static stored() {
    try {
      return new Session(JSON.parse(sessionStorage.getItem(STORED) ?? "{}"));
    } catch {
      return new Session();
    }
  }

  store() {
    sessionStorage.setItem(STORED, JSON.stringify({ token: this.token, tenant: this.tenant }));
  }

  static forget() {
    sessionStorage.removeItem(STORED);
  }

  /** What the token says about its user. The server checks it; here it only fills the page. */
  claims() {
    try {
      const payload = this.token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
      const octets = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
      return JSON.parse(new TextDecoder().decode(octets));
    } catch {
      return {};
    }
  }
}

export class Api {
  constructor(session) {
    this.session = session;
  }

  get(path) {
    return this.#ask(path, {});
  }

  post(path, body) {
    const headers = { "content-type": "application/json" };
    return this.#ask(path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async #ask(path, init) {
    const answer = await fetch(path, {
      ...init,
      headers: { ...init.headers, ...this.#headers() },
      cache: "no-store",
      signal: AbortSignal.timeout(REQUEST_MAX_MS),
    });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Problem(answer.status, body);
    return body;
  }

  /** Reads the stream of wake-ups until it ends: gives the newest place of the log for each event. */
  async *wakeups(signal) {
    const headers = { accept: "text/event-stream", ...this.#headers() };
    const answer = await fetch("/changes/stream", { headers, cache: "no-store", signal });
    if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = new Map(block.split("\n").map((line) => line.split(": ", 2)));
        if (fields.get("event") === "changed") yield fields.get("id");
      }
    }
  }

  #headers() {
    const { token, tenant } = this.session;
    return {
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(tenant ? { "x-syncflow-tenant": tenant } : {}),
    };
  }
}
