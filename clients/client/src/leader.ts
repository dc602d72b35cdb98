/** What tabs of one origin use to find a leader. Both are the platform's own, unless a test gives others. */
export interface Coordination {
  /** The same in all tabs that share a server, a tenant and a user. */
  name: string;
  locks?: Pick<LockManager, "request">;
  channel?: () => BroadcastChannel;
}

/**
 * Runs `work` in one tab at a time; another tab takes over when that one is closed. `heard` is called in all other tabs
 * whenever the leader calls the `tell` that `work` gets. Without locks, each tab leads itself.
 */
export async function lead(
  coordination: Coordination | undefined,
  work: (tell: () => void) => Promise<void>,
  heard: () => void,
  signal: AbortSignal,
): Promise<void> {
  const locks = coordination?.locks ?? globalThis.navigator?.locks;
  if (!coordination || !locks) return work(() => undefined);
  const name = `syncflow:${coordination.name}`;
  const channel = coordination.channel?.() ?? new BroadcastChannel(name);
  channel.onmessage = heard;
  try {
    await locks.request(name, { signal }, () => work(() => channel.postMessage("changed")));
  } finally {
    channel.close();
  }
}
