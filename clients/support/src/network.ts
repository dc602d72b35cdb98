import type { Random } from "./random.js";
import type { Server } from "./server.js";

/** The address that devices are given. The network leads it to the server, wherever that listens now. */
export const ADDRESS = "http://syncflow.test";

/** How often something goes wrong, from 0 to 1. */
export interface Faults {
  /** The request never arrives. */
  lostRequest: number;
  /** The request arrives, and its answer is lost. */
  lostAnswer: number;
  /** A proxy answers 503 by itself. */
  busy: number;
}

export const NO_FAULTS: Faults = { lostRequest: 0, lostAnswer: 0, busy: 0 };

/** The way from one device to the server, with faults that come from a seed. */
export class Network {
  online = true;
  faults: Faults = NO_FAULTS;
  /** The requests that arrived at the server, newest last. */
  readonly seen: { path: string; body: any; headers: Headers; status: number; answer: any }[] = [];

  constructor(readonly server: Server, readonly random: Random) {}

  readonly fetch: typeof fetch = async (input, init) => {
    const url = String(input);
    if (!this.online || this.random.chance(this.faults.lostRequest)) throw new TypeError("request lost");
    if (this.random.chance(this.faults.busy)) {
      return new Response("{}", { status: 503, headers: { "retry-after": "0" } });
    }
    const path = url.slice(ADDRESS.length);
    const answer = await fetch(this.server.url + path, init);
    const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream");
    if (!isStream) {
      const text = await answer.clone().text();
      const headers = new Headers(init?.headers);
      const body = typeof init?.body === "string" ? JSON.parse(init.body) : undefined;
      this.seen.push({ path, body, headers, status: answer.status, answer: parsed(text) });
    }
    if (!this.online || this.random.chance(this.faults.lostAnswer)) throw new TypeError("answer lost");
    return answer;
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
