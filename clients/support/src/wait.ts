import { createServer } from "node:net";

/** Waits until a condition holds. The limit is generous: it only ends tests that would never end. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, maxMs = 60_000): Promise<void> {
  const end = Date.now() + maxMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`this did not happen in time: ${what}`);
    await pause(5);
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** A port that is free now, outside the range that the system gives to connections. So it is also free a moment later. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const listener = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      listener.once("error", () => resolve(false));
      listener.listen(port, "127.0.0.1", () => resolve(true));
    });
    await new Promise((resolve) => listener.close(resolve));
    if (isFree) return port;
  }
}
