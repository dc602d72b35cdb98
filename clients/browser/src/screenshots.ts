// Takes the screenshots of docs/images: the todo application after a conflict, and the console.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Server } from "@syncflow-server/test-support";
import { writeHistory } from "./sample.js";
import { Site } from "./site.js";
import { device, Faults, launch, TodoPage } from "./windows.js";

const WIDTHS = [{ suffix: "", width: 1280, height: 800 }, { suffix: "-phone", width: 390, height: 780 }];
const images = process.argv[2] ?? fileURLToPath(new URL("../../../../docs/images/", import.meta.url));

await mkdir(images, { recursive: true });
const browser = await launch();
const file = (name: string) => ({ path: `${images}/${name}.png` });
for (const { suffix, ...size } of WIDTHS) {
  const site = await Site.start();
  const faults = new Faults();
  const ann = await TodoPage.open(await device(browser, size), site.url, "Ann", faults);
  const bob = await TodoPage.open(await device(browser), site.url, "Bob", faults);
  for (const title of ["Milk", "Bread", "Six eggs", "Apples"]) await ann.add(title);
  await bob.has("Apples");
  await bob.add("Coffee");
  await bob.page.getByRole("checkbox", { name: "Bread is done" }).check();
  await ann.has("Coffee");
  await ann.page.context().setOffline(true);
  await ann.rename("Milk", "Oat milk");
  await bob.rename("Milk", "Soy milk");
  await bob.says("Synced");
  await ann.page.context().setOffline(false);
  await ann.notices.first().waitFor();
  await ann.page.context().setOffline(true);
  await ann.says("Offline");
  await ann.add("Flour");
  await ann.page.screenshot(file(`todo${suffix}`));
  await site.close();

  const server = await Server.start();
  await writeHistory(server);
  const page = await (await device(browser, size)).newPage();
  await page.goto(`${server.url}/_console`);
  await page.locator(".state[data-state=live]").waitFor();
  await page.locator("table").waitFor();
  await page.screenshot(file(`console${suffix}`));
  await page.goto(`${server.url}/_console#/documents/todos/milk`);
  await page.locator(".clocks").waitFor();
  await page.locator("pre").waitFor();
  await page.screenshot(file(`console-document${suffix}`));
  if (process.env["SYNCFLOW_ALL_VIEWS"]) {
    for (const name of ["documents", "documents/todos", "log", "conflicts", "clients"]) {
      await page.goto(`${server.url}/_console#/${name}`);
      await page.locator("table").waitFor();
      await page.screenshot(file(`all-${name.replace("/", "-")}${suffix}`));
    }
    await page.emulateMedia({ colorScheme: "dark" });
    await page.goto(`${server.url}/_console#/documents/todos/milk`);
    await page.locator("pre").waitFor();
    await page.screenshot(file(`all-dark${suffix}`));
  }
  await server.close();
}
await browser.close();
