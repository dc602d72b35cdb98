import { type Backoff, pauseMs, retryAfterMs, sleep } from "./backoff.js";
import type { SyncflowClient } from "./client.js";
import { type Coordination, lead } from "./leader.js";
import { events } from "./sse.js";

/** Something that pulls. */
export interface WakeupTarget {
  /** Is called when there may be something to pull: often in vain, and again after a connection was lost. */
  wake(): void;
  /** Where the next pull begins. It is used if the server's stream cannot be, to wait with a pull instead. */
  place?(): { cursor: string | null; collections?: readonly string[] } | undefined;
}

export interface WakeupOptions {
  /** Lets the tabs of one browser share one stream. */
  coordination?: Coordination;
  /** The pauses of polling, which is used if the server can do nothing better. */
  poll?: Partial<Backoff>;
  /** A stream without even a heartbeat for so long is dead, or held back by a proxy. */
  quietMaxMs?: number;
  /** A stream that ends before this time was cut off by something on its way. */
  shortMs?: number;
}

const POLL: Backoff = { minMs: 2_000, maxMs: 60_000 };
const QUIET_MAX_MS = 45_000;
const SHORT_MS = 2_000;
/** After so many short streams the client waits with pulls. */
const SHORT_STREAMS_MAX = 3;
const WAIT_SECONDS = 25;
/** Pulls that wait at the same time; a browser has six connections to a server. */
const WAITS_MAX = 3;
/** An answer that comes earlier than this, and is empty, did not wait. */
const WAITED_MS = 1_000;
const VAIN_WAITS_MAX = 2;
/** A woken target has this long to move its cursor before the next wait. */
const SETTLE_MS = 250;

/** Says when to pull. A wake-up that is lost costs time and never data, since polling goes on behind everything. */
export class Wakeups {
  #mode: "stream" | "wait" | "poll" = "stream";
  readonly #targets = new Set<WakeupTarget>();
  readonly #stop = new AbortController();
  readonly #poll: Backoff;
  #quietPolls = 0;
  #leastPollMs = 0;
  #interrupt = new AbortController();
  #tell: () => void = () => undefined;

  constructor(readonly client: SyncflowClient, readonly options: WakeupOptions = {}) {
    this.#poll = { ...POLL, ...options.poll };
    const work = async (tell: () => void) => {
      this.#tell = tell;
      while (!this.#stop.signal.aborted) await this[this.#mode]().catch(() => undefined);
    };
    lead(options.coordination, work, () => this.#wakeOwn(), this.#stop.signal).catch(() => undefined);
    globalThis.addEventListener?.("online", this.#wakeAll);
    globalThis.document?.addEventListener("visibilitychange", this.#wakeAll);
  }

  /** How the client learns of changes at the moment. */
  get mode(): "stream" | "wait" | "poll" {
    return this.#mode;
  }

  /** Adds a target. Returns what removes it. */
  add(target: WakeupTarget): () => void {
    this.#targets.add(target);
    return () => this.#targets.delete(target);
  }

  /** Says that something was pushed or pulled: it is likely that more comes, so polls become frequent again. */
  active(): void {
    // A pause that is short already goes on, or one activity after the other would put off every poll.
    if (this.#quietPolls > 1) this.#interrupt.abort();
    this.#quietPolls = 0;
  }

  /** Says what the server asked for in the answer to a pull: it is not polled more often. */
  asked(pollAfterSeconds = 0): void {
    this.#leastPollMs = pollAfterSeconds * 1000;
  }

  close(): void {
    this.#stop.abort();
    this.#interrupt.abort();
    this.#targets.clear();
    globalThis.removeEventListener?.("online", this.#wakeAll);
    globalThis.document?.removeEventListener("visibilitychange", this.#wakeAll);
  }

  readonly #wakeAll = () => {
    this.#wakeOwn();
    this.#tell();
  };

  #wakeOwn(): void {
    for (const target of this.#targets) target.wake();
  }

  /** Reads streams, one after the other. */
  private async stream(): Promise<void> {
    for (let failures = 0, shorts = 0; ; ) {
      const began = Date.now();
      let pause = 0;
      let isShort = false;
      try {
        const answer = await this.client.http.open("/changes/stream", this.#stop.signal);
        const type = answer.headers.get("content-type") ?? "";
        if (answer.ok && answer.body && type.startsWith("text/event-stream")) {
          failures = 0;
          const end = await this.#read(answer.body);
          pause = end.retryMs;
          isShort = !end.isMeant && Date.now() - began < (this.options.shortMs ?? SHORT_MS);
        } else {
          await answer.body?.cancel();
          if ([404, 405, 501].includes(answer.status) || answer.ok) return void (this.#mode = "wait");
          isShort = ![401, 429, 503].includes(answer.status);
          pause = retryAfterMs(answer.headers.get("retry-after"));
          failures++;
        }
      } catch {
        this.#stop.signal.throwIfAborted();
        failures++;
      }
      if (this.#mode !== "stream") return;
      shorts = isShort ? shorts + 1 : 0;
      if (shorts >= SHORT_STREAMS_MAX) return void (this.#mode = "wait");
      await sleep(failures > 0 ? pauseMs(this.#poll, failures - 1, pause) : pause, this.#stop.signal);
      // While there is no stream, every attempt at one is a poll too.
      if (failures > 0) this.#wakeAll();
    }
  }

  /** Wakes for each event until the stream ends. */
  async #read(body: ReadableStream<Uint8Array>): Promise<{ isMeant: boolean; retryMs: number }> {
    const end = { isMeant: false, retryMs: pauseMs(this.#poll, 0) };
    // Commits from the time without a stream were not announced.
    this.#wakeAll();
    let isSilent = true;
    try {
      for await (const event of events(body, this.options.quietMaxMs ?? QUIET_MAX_MS)) {
        isSilent = false;
        if (event.retryMs !== undefined) end.retryMs = event.retryMs;
        if (event.name === "changed") this.#wakeAll();
        if (event.name === "end") return { isMeant: true, retryMs: event.data.includes("stopping") ? end.retryMs : 0 };
      }
    } catch {
      this.#stop.signal.throwIfAborted();
      // A proxy that collects the whole answer is no better than one that cuts it off.
      if (isSilent) this.#mode = "wait";
      if (isSilent) throw new Error("the stream is held back");
    }
    return end;
  }

  /** Waits with pulls, for the first few targets; the others are woken at the end of each wait. */
  private async wait(): Promise<void> {
    let last = "";
    for (let vain = 0, stuck = 0; vain < VAIN_WAITS_MAX; ) {
      const places = [...this.#targets].flatMap((target) => {
        const place = target.place?.();
        return place ? [{ target, place }] : [];
      });
      const waiting = places.slice(0, WAITS_MAX);
      if (waiting.length === 0) break;
      const began = Date.now();
      const round = new AbortController();
      const signal = AbortSignal.any([this.#stop.signal, round.signal]);
      const first = await Promise.race(waiting.map(async ({ target, place }) => {
        const request = { ...place, limit: 1, wait: WAIT_SECONDS, countsProgress: false, signal };
        const found = await this.client.pullPage(request).catch(() => undefined);
        return { target, hasNews: !found || found.operations.length > 0 || found.hasMore };
      }));
      round.abort();
      this.#stop.signal.throwIfAborted();
      vain = first.hasNews || Date.now() - began >= WAITED_MS ? 0 : vain + 1;
      this.#wakeAll();
      // A target that does not move although there is news cannot pull now.
      const now = JSON.stringify(waiting.map(({ place }) => place));
      stuck = first.hasNews && now === last ? stuck + 1 : 0;
      last = now;
      await sleep(stuck > 0 ? pauseMs(this.#poll, stuck) : SETTLE_MS, this.#stop.signal);
    }
    this.#mode = "poll";
  }

  /** Polls: often while things change, seldom when they do not. */
  private async poll(): Promise<void> {
    for (;;) {
      const pause = Math.max(this.#leastPollMs, pauseMs(this.#poll, this.#quietPolls++));
      this.#interrupt = new AbortController();
      await sleep(pause, AbortSignal.any([this.#stop.signal, this.#interrupt.signal])).catch(() => undefined);
      this.#stop.signal.throwIfAborted();
      if (!this.#interrupt.signal.aborted) this.#wakeAll();
    }
  }
}
