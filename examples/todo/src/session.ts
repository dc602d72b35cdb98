/** A user, as far as the application must know offline. */
export interface Session {
  user: string;
  lists: string[];
  /** The address of the sync server. */
  url: string;
}

const CHOSEN = "todo-user";
const KNOWN = "todo-session-";

/** Asks the backend for a token. It is called again whenever a token is about to expire or was refused. */
export async function tokenOf(user: string): Promise<string> {
  return (await ask(user)).token;
}

/** Signs a user in. A device on which the user has been before needs no network for it. */
export async function signIn(user: string): Promise<Session> {
  const { token: _, ...session } = await ask(user).catch((error: unknown) => {
    const known = localStorage.getItem(KNOWN + user);
    if (known === null) throw error;
    return { ...(JSON.parse(known) as Session), token: "" };
  });
  localStorage.setItem(KNOWN + user, JSON.stringify(session));
  // Each tab has a user of its own, so that you can be both of them side by side.
  sessionStorage.setItem(CHOSEN, user);
  return session;
}

export function chosenUser(): string | null {
  return sessionStorage.getItem(CHOSEN);
}

export function signOut(user: string): void {
  sessionStorage.removeItem(CHOSEN);
  localStorage.removeItem(KNOWN + user);
}

async function ask(user: string): Promise<Session & { token: string }> {
  const answer = await fetch(`/session?user=${encodeURIComponent(user)}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(`the backend answered ${answer.status}`);
  return answer.json();
}
