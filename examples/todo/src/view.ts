import { combineLatest } from "rxjs";
import { differences, type Notice, type Status, type Store, type Todo } from "./store.ts";

const NAMES: Record<string, string> = { ann: "Ann", bob: "Bob" };

/** Makes an element with properties and children. */
function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function showSignIn(root: HTMLElement, users: string[], choose: (user: string) => void): void {
  const buttons = users.map((user) =>
    make("button", { type: "button", className: "user", onclick: () => choose(user) }, avatar(user), nameOf(user)));
  root.replaceChildren(
    make("section", { className: "sign-in" },
      make("h1", {}, "Shared lists"),
      make("p", {}, "Everything works offline. Open this page a second time to be both users at once."),
      make("h2", {}, "Who are you?"),
      make("div", { className: "users" }, ...buttons)),
  );
}

export function showProblem(root: HTMLElement, message: string): void {
  root.replaceChildren(
    make("section", { className: "sign-in" },
      make("h1", {}, "Shared lists"),
      make("p", { role: "alert" }, `This does not work: ${message}.`),
      make("button", { type: "button", onclick: () => location.reload() }, "Try again")),
  );
}

export function showApp(root: HTMLElement, store: Store, leave: () => void): void {
  const { user, lists } = store.session;
  let shown = lists[0] ?? "";
  let todos: Todo[] = [];

  const badge = make("p", { className: "badge", role: "status" });
  const problem = make("p", { className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  const title = make("input", { name: "title", required: true, maxLength: 200, autocomplete: "off" });
  title.setAttribute("aria-label", "New entry");
  title.placeholder = "What is needed?";
  const form = make("form", { className: "add" }, title, make("button", { type: "submit" }, "Add"));
  form.onsubmit = (event) => {
    event.preventDefault();
    const text = title.value.trim();
    if (text) void store.add(shown, text);
    title.value = "";
  };
  const entries = make("ul", { className: "todos" });
  const empty = make("p", { className: "empty" }, "Nothing on this list.");
  const notices = make("section", { className: "notices" });
  notices.setAttribute("aria-live", "polite");
  const tabs = lists.map((list) => {
    const tab = make("button", { type: "button", textContent: titleOf(list, user) });
    tab.onclick = () => {
      shown = list;
      draw();
    };
    return { list, tab };
  });
  let waiting = 0;
  const signOut = make("button", { type: "button", className: "quiet" }, "Sign out");
  signOut.title = "Removes everything from this device";
  signOut.onclick = () => {
    if (waiting === 0 || confirm("Changes that the server does not have yet will be lost. Sign out?")) leave();
  };

  function draw(): void {
    for (const { list, tab } of tabs) tab.setAttribute("aria-pressed", String(list === shown));
    const wanted = todos.filter(({ list }) => list === shown);
    const rows = new Map([...entries.children].map((row) => [(row as HTMLElement).dataset["id"], row as HTMLElement]));
    const next = wanted.map((todo) => drawTodo(rows.get(todo.id) ?? makeTodo(store, todo), todo, user));
    // Rows that stay are not moved, so that the keyboard's focus stays too.
    for (const row of rows.values()) if (!next.includes(row)) row.remove();
    next.forEach((row, index) => {
      if (entries.children[index] !== row) entries.insertBefore(row, entries.children[index] ?? null);
    });
    empty.hidden = wanted.length > 0;
  }

  root.replaceChildren(
    make("header", {},
      make("h1", {}, "Shared lists"),
      badge,
      make("div", { className: "me" }, avatar(user), nameOf(user), signOut)),
    problem,
    notices,
    make("nav", {}, ...tabs.map(({ tab }) => tab)),
    form,
    entries,
    empty,
  );
  store.todos.find({ sort: [{ createdAt: "asc" }] }).$.subscribe((found) => {
    todos = found.map((todo) => todo.toJSON() as Todo);
    draw();
  });
  store.notices.find().$.subscribe((found) => {
    notices.replaceChildren(...found.map((notice) => drawNotice(store, notice.toJSON() as Notice)));
  });
  combineLatest([store.status$, store.waiting$]).subscribe(([status, count]) => {
    waiting = count;
    drawBadge(badge, status, count);
  });
  store.problem$.subscribe((message) => {
    problem.hidden = message === undefined;
    problem.textContent = message ?? "";
  });
}

function drawBadge(badge: HTMLElement, status: Status, waiting: number): void {
  const kept = waiting === 1 ? "1 change is kept here" : `${waiting} changes are kept here`;
  const texts: Record<Status, string> = {
    synced: "Synced",
    syncing: "Syncing …",
    offline: waiting > 0 ? `Offline: ${kept}` : "Offline",
    "other tab": "Synced by another tab",
  };
  badge.dataset["status"] = status;
  if (badge.textContent !== texts[status]) badge.textContent = texts[status];
}

function makeTodo(store: Store, { id }: Todo): HTMLElement {
  const done = make("input", { type: "checkbox" });
  done.onchange = () => void store.change(id, { done: done.checked });
  const title = make("input", { className: "title", maxLength: 200, autocomplete: "off" });
  title.onchange = () => void store.change(id, { title: title.value.trim() || "…" });
  title.onkeydown = ({ key }) => {
    if (key === "Enter") title.blur();
  };
  const remove = make("button", { type: "button", className: "quiet remove", onclick: () => void store.remove(id) }, "×");
  const row = make("li", {}, done, title, make("span", { className: "by" }), remove);
  row.dataset["id"] = id;
  return row;
}

function drawTodo(row: HTMLElement, todo: Todo, user: string): HTMLElement {
  const [done, title, by, remove] = row.children as unknown as [HTMLInputElement, HTMLInputElement, HTMLElement, HTMLElement];
  row.classList.toggle("done", todo.done);
  done.checked = todo.done;
  done.setAttribute("aria-label", `${todo.title} is done`);
  title.setAttribute("aria-label", `Title of ${todo.title}`);
  // Text that is being typed stays.
  if (document.activeElement !== title) title.value = todo.title;
  by.replaceChildren(...(todo.by === user ? [] : [avatar(todo.by)]));
  by.title = todo.by === user ? "" : `Written by ${nameOf(todo.by)}`;
  remove.setAttribute("aria-label", `Remove ${todo.title}`);
  return row;
}

function drawNotice(store: Store, notice: Notice): HTMLElement {
  const { todo, theirs } = notice;
  const mine = make("q", {}, todo.title);
  const lines = notice.kind === "refused"
    ? [make("p", {}, "The server does not take ", mine, `: ${notice.message}.`)]
    : theirs
      ? [make("p", {}, `${nameOf(theirs.by)} changed the same entry.`), comparison(todo, theirs)]
      : [make("p", {}, "Somebody has removed ", mine, ", which you changed.")];
  const actions = make("p", { className: "actions" });
  if (notice.kind === "conflict") {
    actions.append(make("button", { type: "button", onclick: () => void store.keepMine(notice) }, "Use mine"));
  }
  const close = notice.kind === "conflict" && theirs ? "Keep theirs" : "Close";
  const quiet = { type: "button", className: "quiet", onclick: () => void store.dismiss(notice.id) } as const;
  actions.append(make("button", quiet, close));
  return make("article", {}, make("h2", {}, notice.kind === "conflict" ? "Conflict" : "Refused"), ...lines, actions);
}

function comparison(mine: Todo, theirs: Todo): HTMLElement {
  const rows = differences(mine, theirs).map((field) => {
    const show = (todo: Todo) => (field === "done" ? (todo.done ? "done" : "not done") : String(todo[field as "title"]));
    return make("div", {}, make("dt", {}, field), make("dd", {}, make("del", {}, show(mine)), " ", make("ins", {}, show(theirs))));
  });
  return make("dl", {}, ...rows);
}

function avatar(user: string): HTMLElement {
  const element = make("span", { className: "avatar" }, nameOf(user).slice(0, 1));
  element.setAttribute("aria-hidden", "true");
  element.dataset["user"] = user;
  return element;
}

function nameOf(user: string): string {
  return NAMES[user] ?? user;
}

function titleOf(list: string, user: string): string {
  return list === user ? "Only mine" : list.slice(0, 1).toUpperCase() + list.slice(1);
}
