import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { freePort, Server } from "@syncflow-server/test-support";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { write, writeHistory } from "../src/sample.js";
import { device, Faults, launch, type WindowOptions } from "../src/windows.js";

const HOSTILE = '<img src=x onerror="document.title=1">';

let browser: Browser;
let server: Server;
let faults: Faults;
let devices: BrowserContext[] = [];

before(async () => {
  browser = await launch();
});
after(() => browser.close());
afterEach(async () => {
  for (const context of devices) await context.close();
  devices = [];
  await server.close();
  assert.deepEqual(faults.found, []);
});

async function begin(options: Parameters<typeof Server.start>[0] = {}): Promise<void> {
  server = await Server.start(options);
  faults = new Faults();
}

async function open(options: WindowOptions = {}): Promise<Page> {
  const context = await device(browser, options);
  devices.push(context);
  const page = await context.newPage();
  faults.watch(page);
  await page.goto(`${server.url}/_console`);
  return page;
}

async function see(page: Page, text: string): Promise<void> {
  await page.getByText(text).first().waitFor();
}

/** Opens a view by its link. */
async function view(page: Page, name: string): Promise<void> {
  await page.locator("#nav").getByRole("link", { name }).click();
  await page.getByRole("heading", { name, level: 1 }).waitFor();
}

test("it shows what a tenant has, and the history of a document with its clocks", async () => {
  await begin();
  await writeHistory(server);
  const page = await open();
  await page.locator(".card", { hasText: "Documents" }).getByText("3", { exact: false }).waitFor();
  await page.locator(".card", { hasText: "Entries in the log" }).getByText("9").waitFor();
  await view(page, "Documents");
  await page.getByRole("row", { name: /lists/ }).waitFor();
  await page.getByRole("link", { name: "todos" }).click();
  await page.getByRole("link", { name: "milk" }).waitFor();
  assert.equal(await page.locator("tbody tr").count(), 2);
  await page.getByRole("textbox", { name: "Filter" }).fill('{"done": true}');
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByRole("link", { name: "bread" }).waitFor({ state: "detached" });
  await page.getByRole("textbox", { name: "Filter" }).fill('{"$wrong": []}');
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByRole("alert").waitFor();
  await page.getByRole("link", { name: "milk" }).click();
  await page.getByRole("heading", { name: "Revision 5" }).waitFor();
  await see(page, '"Soy milk"');
  const drawing = page.getByRole("img", { name: "5 entries of 3 clients, as in the table below" });
  await drawing.waitFor();
  assert.equal(await drawing.locator("circle").count(), 5);
  assert.equal(await drawing.locator(".seen").count(), 4);
  assert.equal(await page.locator("tbody tr").count(), 5);
  await page.goto(`${server.url}/_console#/documents/todos/tea`);
  await see(page, "The document is deleted, or was never there.");
  assert.equal(await page.locator("tbody tr").count(), 2);
});

test("the log grows while it is looked at, and can be filtered and held still", async () => {
  // The page finds the server again at the same port.
  await begin({ settings: { PORT: String(await freePort()) } });
  await writeHistory(server);
  const page = await open();
  await page.locator(".state[data-state=live]").waitFor();
  await view(page, "Log");
  await see(page, "9 of 9 entries, newest first");
  await write(server, { client: "watch", id: "new", data: { title: "Just now" }, clock: { watch: 1 } });
  await page.getByRole("row", { name: /Just now/ }).waitFor();
  await page.getByRole("searchbox").fill("soy");
  await see(page, "1 of 1 entries, newest first");
  await page.getByRole("searchbox").fill("");
  await page.getByRole("checkbox", { name: "Hold still" }).check();
  await write(server, { client: "watch", id: "newer", data: { title: "Later" }, clock: { watch: 1 } });
  await view(page, "Clients");
  await page.getByRole("row", { name: /watch – 2 2/ }).waitFor();
  await server.crash();
  await write(server, { client: "watch", id: "newest", data: { title: "Afterwards" }, clock: { watch: 1 } });
  await page.getByRole("row", { name: /watch – 3 3/ }).waitFor();
});

test("it shows how conflicts were settled, and the clients that wrote", async () => {
  await begin();
  await writeHistory(server);
  await server.ask("/changes", { cursor: null, clientId: "tv" });
  const page = await open();
  await view(page, "Conflicts");
  await page.getByRole("row", { name: /joins edits todos \/ milk phone/ }).waitFor();
  assert.equal(await page.locator("tbody tr").count(), 1);
  await view(page, "Clients");
  await page.getByRole("row", { name: /tv 0 / }).waitFor();
  for (const name of ["phone", "laptop", "tablet"]) await page.getByRole("row", { name }).waitFor();
  await write(server, { client: "phone", id: "new", clock: { phone: 1 } });
  await page.getByRole("row", { name: /tv 1 / }).waitFor();
});

test("it shows an admin what was lost in a conflict that the server resolved", async () => {
  await begin({ settings: { CONFLICT_POLICY: "merge" } });
  const at = Date.UTC(2026, 4, 4, 9);
  for (const written of [
    { client: "phone", data: { title: "Milk", amount: 1 }, clock: { phone: 1 }, timestamp: at },
    { client: "phone", type: "update" as const, data: { amount: 2 }, clock: { phone: 2 }, timestamp: at + 2_000 },
    { client: "laptop", type: "update" as const, data: { title: "Oat milk", amount: 3 }, clock: { phone: 1, laptop: 1 }, timestamp: at + 1_000 },
  ]) await write(server, { id: "milk", ...written });
  const page = await open();
  await view(page, "Conflicts");
  await page.getByRole("row", { name: /resolved: merged todos \/ milk .*lost by laptop\s*amount 3/ }).waitFor();
  await page.goto(`${server.url}/_console#/documents/todos/milk`);
  await page.getByRole("row", { name: /lost by laptop\s*amount 3/ }).waitFor();
});

test("a token opens it, a tenant is chosen, and both are forgotten after signing out", async () => {
  await begin({ auth: true });
  await writeHistory(server, "red");
  await write(server, { client: "tv", collection: "shows", id: "news", clock: { tv: 1 } }, "blue");
  const page = await open();
  await page.getByRole("textbox", { name: "Token" }).fill("no.such.token");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  const token = server.token({ tenant: ["blue", "red"], subject: "ann" });
  await page.getByRole("textbox", { name: "Token" }).fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Choose a tenant" }).waitFor();
  await page.getByRole("button", { name: "red" }).click();
  await see(page, "lists");
  await page.reload();
  await see(page, "lists");
  await view(page, "Log");
  await see(page, "tester");
  await page.getByRole("button", { name: "red" }).click();
  await page.getByRole("button", { name: "blue" }).click();
  await view(page, "Overview");
  await see(page, "shows");
  assert.equal(await page.getByText("lists").count(), 0);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("textbox", { name: "Token" }).waitFor();
  await page.reload();
  await page.getByRole("textbox", { name: "Token" }).waitFor();
});

test("a reader who may not see everything sees documents and no log", async () => {
  const rules = '[labels]\nowner = { field = "owner", claim = "sub" }\n[collections.notes]\nread = ["owner"]\nwrite = ["owner"]\n';
  await begin({ auth: true, settings: { RULES: rules } });
  for (const owner of ["ann", "bob"]) {
    const token = server.token({ subject: owner, role: "writer" });
    const operation = { id: owner, type: "insert", collection: "notes", docId: `of-${owner}`, data: { owner }, timestamp: 1, clientId: owner, vectorClock: { [owner]: 1 } };
    const answer = await fetch(`${server.url}/operations`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify({ clientId: owner, operations: [operation] }),
    });
    assert.deepEqual(((await answer.json()) as any).conflicts, []);
  }
  const page = await open();
  await page.getByRole("textbox", { name: "Token" }).fill(server.token({ subject: "ann", role: "reader" }));
  await page.getByRole("button", { name: "Sign in" }).click();
  await view(page, "Log");
  await see(page, "notes / of-ann");
  assert.equal(await page.getByText("of-bob").count(), 0);
  await see(page, "Some entries are whole documents.");
});

test("what clients wrote stays text, however it looks", async () => {
  await begin();
  const written = { client: HOSTILE, collection: HOSTILE, id: HOSTILE, data: { [HOSTILE]: HOSTILE }, clock: { [HOSTILE]: 1 } };
  await write(server, written);
  const page = await open();
  for (const name of ["Documents", "Log", "Clients", "Conflicts", "Overview"]) await view(page, name);
  await page.getByRole("link", { name: HOSTILE }).click();
  await page.getByRole("link", { name: HOSTILE }).last().click();
  await page.getByRole("heading", { name: "Revision 1" }).waitFor();
  assert.equal(await page.locator("main img").count(), 0);
  assert.notEqual(await page.title(), "1");
});

test("every view fits a narrow window, and everything can be reached with the keyboard", async () => {
  await begin();
  await writeHistory(server);
  const page = await open({ width: 390, height: 800, colorScheme: "dark" });
  await see(page, "Collections in the log");
  for (const name of ["Documents", "Log", "Conflicts", "Clients", "Overview"]) {
    await view(page, name);
    await page.locator("table").first().waitFor();
    const [scrolled, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok((scrolled ?? 0) <= (width ?? 0), `${name}: ${scrolled} > ${width}`);
  }
  await page.reload();
  await see(page, "Collections in the log");
  const reached: string[] = [];
  for (let presses = 0; presses < 20; presses++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement?.textContent?.trim() ?? ""));
  }
  for (const name of ["Skip to the content", "Overview", "Documents", "Log", "Conflicts", "Clients", "todos"]) {
    assert.ok(reached.includes(name), `${name} is not among ${reached.join(", ")}`);
  }
  await page.locator("#nav").getByRole("link", { name: "Documents" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Documents", level: 1 }).waitFor();
});
