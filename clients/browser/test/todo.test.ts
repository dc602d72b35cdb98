import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { until } from "@syncflow-server/test-support";
import type { Browser, BrowserContext } from "playwright-core";
import { Site } from "../src/site.js";
import { device, Faults, launch, TodoPage, type WindowOptions } from "../src/windows.js";

const YEAR_MS = 365 * 24 * 3600 * 1000;

let browser: Browser;
let site: Site;
let faults: Faults;
let devices: BrowserContext[] = [];

before(async () => {
  browser = await launch();
});
after(() => browser.close());
afterEach(async () => {
  for (const context of devices) await context.close();
  devices = [];
  await site.close();
  assert.deepEqual(faults.found, []);
});

async function begin(): Promise<void> {
  site = await Site.start();
  faults = new Faults();
}

async function onDevice(options: WindowOptions = {}): Promise<BrowserContext> {
  const context = await device(browser, options);
  devices.push(context);
  return context;
}

async function windowOf(user: string, options: WindowOptions = {}): Promise<TodoPage> {
  return TodoPage.open(await onDevice(options), site.url, user, faults);
}

test("two users share a list, and nothing else", async () => {
  await begin();
  const [ann, bob] = [await windowOf("Ann"), await windowOf("Bob")];
  await ann.add("Milk");
  await bob.has("Milk");
  await bob.page.getByRole("checkbox", { name: "Milk is done" }).check();
  await ann.page.getByRole("checkbox", { name: "Milk is done", checked: true }).waitFor();
  await ann.page.getByRole("button", { name: "Only mine" }).click();
  await ann.add("Present for Bob");
  await ann.page.getByRole("button", { name: "Groceries" }).click();
  await ann.add("Bread");
  await bob.has("Bread");
  assert.deepEqual(await bob.titles(), ["Milk", "Bread"]);
  await bob.page.getByRole("button", { name: "Remove Milk" }).click();
  await ann.lacks("Milk");
  assert.deepEqual(await site.titles(), ["Bread", "Present for Bob"]);
});

test("edits of a device without a network reach the other one later, and the badge says so", async () => {
  await begin();
  const [ann, bob] = [await windowOf("Ann"), await windowOf("Bob")];
  await ann.add("Milk");
  await bob.has("Milk");
  await ann.says("Synced");
  await ann.page.context().setOffline(true);
  await ann.says("Offline");
  await ann.add("Eggs");
  await ann.rename("Milk", "Oat milk");
  await ann.says("Offline: 2 changes are kept here");
  await bob.add("Bread");
  assert.deepEqual(await ann.titles(), ["Oat milk", "Eggs"]);
  await ann.page.context().setOffline(false);
  for (const title of ["Oat milk", "Eggs"]) await bob.has(title);
  await ann.has("Bread");
  await ann.says("Synced");
  assert.equal(await ann.notices.count(), 0);
});

test("a conflict is shown to the device that lost it, and its user can choose", async () => {
  await begin();
  const [ann, bob] = [await windowOf("Ann"), await windowOf("Bob")];
  await ann.add("Milk");
  await ann.add("Tea");
  await bob.has("Tea");
  await ann.page.context().setOffline(true);
  await ann.rename("Milk", "Oat milk");
  await ann.rename("Tea", "Green tea");
  await bob.rename("Milk", "Soy milk");
  await bob.rename("Tea", "Black tea");
  await until("the server has Bob's", async () => (await site.titles()).join() === "Black tea,Soy milk");
  await ann.page.context().setOffline(false);
  await ann.has("Soy milk");
  await ann.has("Black tea");
  await ann.notices.nth(1).waitFor();
  const ofMilk = ann.notices.filter({ hasText: "Oat milk" });
  await ofMilk.getByText("Bob changed the same entry.").waitFor();
  await ofMilk.getByRole("button", { name: "Use mine" }).click();
  await bob.has("Oat milk");
  await ann.notices.filter({ hasText: "Green tea" }).getByRole("button", { name: "Keep theirs" }).click();
  await ann.notices.first().waitFor({ state: "detached" });
  assert.deepEqual(await site.titles(), ["Black tea", "Oat milk"]);
  assert.equal(await bob.notices.count(), 0);
});

test("a page that is reloaded while its push has no answer yet pushes once", async () => {
  await begin();
  const [ann, bob] = [await windowOf("Ann"), await windowOf("Bob")];
  await ann.says("Synced");
  let arrived = 0;
  await ann.page.route("**/operations", async (route) => {
    const answer = await route.fetch();
    // The answer to what took effect never comes: the page is gone by then.
    if (((await answer.json()) as { accepted: unknown[] }).accepted.length > 0) arrived += 1;
    else await route.fulfill({ response: answer });
  });
  await ann.add("Milk");
  await until("the push arrived", () => arrived > 0);
  await bob.has("Milk");
  await ann.page.unrouteAll({ behavior: "ignoreErrors" });
  await ann.page.reload();
  await ann.isReady();
  await ann.has("Milk");
  await ann.says("Synced");
  await ann.rename("Milk", "Oat milk");
  await bob.has("Oat milk");
  assert.deepEqual(await site.titles(), ["Oat milk"]);
  assert.equal(await ann.notices.count(), 0);
});

test("a server that is killed and starts again gets what was written meanwhile", async () => {
  await begin();
  const [ann, bob] = [await windowOf("Ann"), await windowOf("Bob")];
  await ann.add("Milk");
  await bob.has("Milk");
  await site.server.whileDown(async () => {
    await ann.add("Eggs");
    await bob.add("Bread");
    await ann.says("Offline");
    await bob.says("Offline");
  });
  await bob.has("Eggs");
  await ann.has("Bread");
  await ann.says("Synced");
  await bob.says("Synced");
  assert.deepEqual(await site.titles(), ["Bread", "Eggs", "Milk"]);
});

test("a token that has expired is replaced, also if the device does not know what time it is", async () => {
  await begin();
  // The server takes a token for 30 seconds more, since clocks differ; the device believes it for a year.
  const expired = -25;
  site.tokenSeconds = expired;
  const [ann, bob] = [await windowOf("Ann", { clockMs: -YEAR_MS }), await windowOf("Bob")];
  await ann.add("Milk");
  await bob.has("Milk");
  const token = site.token("ann", expired);
  const headers = { authorization: `Bearer ${token}` };
  await until("the token is refused", async () => (await fetch(`${site.server.url}/stats`, { headers })).status === 401);
  site.tokenSeconds = 600;
  const asked = site.asked.filter((user) => user === "ann").length;
  await ann.add("Eggs");
  await bob.has("Eggs");
  assert.ok(site.asked.filter((user) => user === "ann").length > asked);
});

test("two tabs of a user show the same, one of them syncs, and the other one takes over", async () => {
  await begin();
  const laptop = await onDevice();
  const first = await TodoPage.open(laptop, site.url, "Ann", faults);
  await first.says("Synced");
  const second = await TodoPage.open(laptop, site.url, "Ann", faults);
  const asked: string[] = [];
  second.page.on("request", (request) => asked.push(request.url()));
  await second.says("Synced by another tab");
  await second.add("Milk");
  await first.has("Milk");
  const bob = await windowOf("Bob");
  await bob.has("Milk");
  await bob.rename("Milk", "Oat milk");
  await second.has("Oat milk");
  assert.deepEqual(asked.filter((url) => url.startsWith(site.server.url)), []);
  await first.page.close();
  await second.add("Eggs");
  await bob.has("Eggs");
  await second.page.locator(".badge[data-status=synced]").waitFor();
});

test("devices whose clocks are wrong by years lose nothing", async () => {
  await begin();
  const ahead = await windowOf("Ann", { clockMs: YEAR_MS });
  const behind = await windowOf("Bob", { clockMs: -3 * YEAR_MS });
  await ahead.add("Milk");
  await behind.has("Milk");
  await behind.rename("Milk", "Oat milk");
  await ahead.has("Oat milk");
  await ahead.rename("Oat milk", "Soy milk");
  await behind.has("Soy milk");
  await behind.rename("Soy milk", "Rice milk");
  await ahead.has("Rice milk");
  assert.deepEqual(await site.titles(), ["Rice milk"]);
  assert.equal((await ahead.notices.count()) + (await behind.notices.count()), 0);
});

test("a narrow window shows everything without scrolling sideways", async () => {
  await begin();
  const ann = await windowOf("Ann", { width: 390, height: 800 });
  await ann.add("Something with a title that is much longer than the window is wide, and goes on for a while");
  const { scrolled, width } = await ann.page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return { scrolled: scrollWidth, width: clientWidth };
  });
  assert.ok(scrolled <= width, `${scrolled} > ${width}`);
});
