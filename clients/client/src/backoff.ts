/** How long to wait between attempts. */
export interface Backoff {
  /** The first pause. */
  minMs: number;
  /** The longest pause, unless the server asks for a longer one. */
  maxMs: number;
}

/**
 * The pause before the next attempt. It doubles with each attempt, and half of it is random: a server that recovers
 * would be held down by clients that all come back at once.
 */
export function pauseMs(backoff: Backoff, attempt: number, retryAfterMs = 0): number {
  const full = Math.min(backoff.maxMs, backoff.minMs * 2 ** Math.min(attempt, 30));
  return Math.max(full / 2, retryAfterMs) + (Math.random() * full) / 2;
}

/** The milliseconds of a header `Retry-After`, which has seconds or a date. */
export function retryAfterMs(header: string | null): number {
  if (header === null) return 0;
  const milliseconds = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(milliseconds) ? Math.max(0, milliseconds) : 0;
}

/** Waits. It ends early when the device comes online, and throws if the signal is aborted. */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const target: Partial<EventTarget> = globalThis;
  await new Promise<void>((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      target.removeEventListener?.("online", wake);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    // Longer times overflow, and a timer then fires at once.
    const timer = setTimeout(wake, Math.min(milliseconds, 2 ** 31 - 1));
    target.addEventListener?.("online", wake);
    signal?.addEventListener("abort", wake);
  });
  signal?.throwIfAborted();
}
