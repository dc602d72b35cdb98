import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { pause, until } from "@syncflow-server/test-support";
import { SyncflowClient, Wakeups, type WakeupOptions } from "../src/index.js";
import { fast } from "./support.js";

let running: Wakeups[] = [];
afterEach(() => {
  for (const wakeups of running) wakeups.close();
  running = [];
});

/** Wake-ups over a network that is a function. */
function start(send: (path: string, init?: RequestInit) => Response | Promise<Response>, options: WakeupOptions = {}) {
  const fetch: typeof globalThis.fetch = async (url, init) => send(String(url).slice("http://x".length), init);
  const client = new SyncflowClient({ url: "http://x", clientId: "a", fetch, backoff: fast });
  const wakeups = new Wakeups(client, { poll: { minMs: 1, maxMs: 20 }, ...options });
  running.push(wakeups);
  const woken = { times: 0 };
  wakeups.add({ wake: () => woken.times++, place: () => ({ cursor: "l.1.0" }) });
  return { wakeups, woken };
}

function stream(open: (send: (text: string) => void, end: () => void) => void): Response {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      open((text) => controller.enqueue(new TextEncoder().encode(text)), () => controller.close());
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

function page(operations: unknown[] = []): Response {
  return Response.json({ operations, conflicts: [], cursor: "l.1.0", hasMore: false });
}

/** A request that is never answered, unless it is aborted. */
function never(init?: RequestInit): Promise<Response> {
  return new Promise((_, fail) => init?.signal?.addEventListener("abort", () => fail(new Error("aborted"))));
}

test("a stream wakes at its start and at each change", async () => {
  let send: (text: string) => void = () => undefined;
  const { wakeups, woken } = start(() => stream((give) => (send = give)));
  await until("the start", () => woken.times === 1);
  send(": heartbeat\n\n");
  send("event: chan");
  send("ged\nid: l.2.0\ndata: {}\n\n");
  await until("the change", () => woken.times === 2);
  assert.equal(wakeups.mode, "stream");
});

test("a stream that ends as announced is opened again, with what the server says about the pause", async () => {
  let opened = 0;
  const { wakeups, woken } = start(() => {
    const mark = ++opened;
    return stream((send, end) => {
      send("retry: 1\n\n");
      if (mark > 5) return;
      send(`event: end\ndata: {"reason":"${["age", "expired", "stopping"][mark % 3]}"}\n\n`);
      end();
    });
  });
  await until("six streams", () => opened === 6 && woken.times === 6);
  assert.equal(wakeups.mode, "stream");
});

test("after three streams that ended early the client waits with pulls", async () => {
  let opened = 0;
  let answer: (response: Response) => void = () => undefined;
  const { wakeups, woken } = start((path) => {
    if (path !== "/changes/stream") return new Promise((resolve) => (answer = resolve));
    opened++;
    return stream((_, end) => end());
  }, { shortMs: 60_000 });
  await until("waiting", () => wakeups.mode === "wait");
  assert.equal(opened, 3);
  const before = woken.times;
  answer(page([{}]));
  await until("woken by the pull", () => woken.times > before);
});

test("a stream that a proxy holds back is given up", async () => {
  const { wakeups } = start((path, init) => (path === "/changes/stream" ? stream(() => undefined) : never(init)), {
    quietMaxMs: 20,
  });
  await until("waiting", () => wakeups.mode === "wait");
});

test("a server without streams that cannot wait is polled", async () => {
  let pulls = 0;
  const { wakeups, woken } = start((path) => {
    if (path === "/changes/stream") return new Response("{}", { status: 404 });
    pulls++;
    return page();
  });
  await until("polling", () => wakeups.mode === "poll");
  assert.equal(pulls, 2);
  const before = woken.times;
  await until("three polls", () => woken.times >= before + 3);
});

test("a server that asks for a pause is not polled more often, also while something happens", async () => {
  const { wakeups, woken } = start((path) => {
    return path === "/changes/stream" ? new Response("{}", { status: 404 }) : page();
  });
  await until("polling", () => wakeups.mode === "poll");
  wakeups.asked(3_600);
  // The poll that waits already may come.
  const before = woken.times;
  for (let n = 0; n < 20; n++) {
    wakeups.active();
    await pause(10);
  }
  assert.ok(woken.times <= before + 1);
});

test("a stream that broke is followed by another one, and by a wake-up", async () => {
  let opened = 0;
  const { woken } = start(() => {
    if (++opened % 2 === 1) throw new TypeError("no network");
    return stream((send, end) => {
      send(": \n\n");
      setTimeout(end, 30);
    });
  }, { shortMs: 0 });
  await until("two streams", () => opened >= 4 && woken.times >= 4);
});

test("one tab leads and tells the others, and another takes over when it closes", async () => {
  const waiting: (() => void)[] = [];
  let isHeld = false;
  // The lock of the platform, as far as it is used: one holder, the others in a queue.
  const request = async (_: string, options: { signal: AbortSignal }, work: () => Promise<void>) => {
    if (isHeld) await new Promise<void>((resolve) => waiting.push(resolve));
    options.signal.throwIfAborted();
    isHeld = true;
    try {
      await work();
    } finally {
      isHeld = false;
      waiting.shift()?.();
    }
  };
  const coordination = { name: "tabs", locks: { request } as unknown as LockManager };
  const opened = [0, 0];
  const sends: ((text: string) => void)[] = [];
  const tabs = [0, 1].map((tab) =>
    start((_, init) => {
      opened[tab]!++;
      return stream((send, end) => {
        sends[tab] = send;
        init?.signal?.addEventListener("abort", end);
      });
    }, { coordination })
  );
  await until("one leads", () => opened[0] === 1 && tabs[0]!.woken.times === 1);
  sends[0]!("event: changed\n\n");
  await until("both are woken", () => tabs[0]!.woken.times >= 2 && tabs[1]!.woken.times >= 1);
  assert.equal(opened[1], 0);
  tabs[0]!.wakeups.close();
  await until("the other one leads", () => opened[1] === 1);
});
