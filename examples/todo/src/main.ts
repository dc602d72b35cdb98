import { chosenUser, signIn, signOut } from "./session.ts";
import { Store } from "./store.ts";
import { showApp, showProblem, showSignIn } from "./view.ts";

const root = document.querySelector<HTMLElement>("#app")!;

async function open(user: string): Promise<void> {
  try {
    const session = await signIn(user);
    const store = await Store.open(session);
    showApp(root, store, async () => {
      await store.wipe();
      signOut(user);
      location.reload();
    });
  } catch (error) {
    showProblem(root, error instanceof Error ? error.message : String(error));
  }
}

const user = chosenUser();
if (user) void open(user);
else showSignIn(root, ["ann", "bob"], (chosen) => void open(chosen));
