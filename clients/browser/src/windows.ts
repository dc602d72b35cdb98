import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

/** The limit of every wait. It is generous: it only ends tests that would never end. */
const WAIT_MAX_MS = 60_000;

/** Starts the browser that `SYNCFLOW_CHROMIUM` names. */
export async function launch(): Promise<Browser> {
  const executablePath = process.env["SYNCFLOW_CHROMIUM"];
  if (!executablePath) throw new Error("SYNCFLOW_CHROMIUM must name a Chromium; clients/README.md says which");
  return chromium.launch({ executablePath, args: ["--disable-dev-shm-usage", "--disable-gpu"] });
}

/** Faults that pages reported: an uncaught error, or a refusal of their own policy. */
export class Faults {
  readonly found: string[] = [];

  watch(page: Page): void {
    page.on("pageerror", (error) => this.found.push(`${page.url()}: ${error.stack ?? error.message}`));
    page.on("console", (message) => {
      // A request that fails is a part of many tests.
      const isExpected = message.text().startsWith("Failed to load resource") || /ERR_[A-Z_]+/.test(message.text());
      if (message.type() === "error" && !isExpected) this.found.push(`${page.url()}: ${message.text()}`);
    });
  }
}

export interface WindowOptions {
  width?: number;
  height?: number;
  colorScheme?: "light" | "dark";
  /** How much the clock of the device is wrong. */
  clockMs?: number;
}

/** A browser of its own, as on a device of its own. */
export async function device(browser: Browser, options: WindowOptions = {}): Promise<BrowserContext> {
  const { width = 1280, height = 800, colorScheme = "light", clockMs } = options;
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  context.setDefaultTimeout(WAIT_MAX_MS);
  if (clockMs !== undefined) {
    await context.addInitScript((wrong) => {
      const RightDate = Date;
      globalThis.Date = class extends RightDate {
        constructor(...parts: any[]) {
          if (parts.length === 0) super(RightDate.now() + wrong);
          else super(...(parts as [number]));
        }
        static override now() {
          return RightDate.now() + wrong;
        }
      } as DateConstructor;
    }, clockMs);
  }
  return context;
}

/** A tab with the todo application of a user. */
export class TodoPage {
  private constructor(readonly page: Page) {}

  static async open(context: BrowserContext, url: string, user: string, faults: Faults): Promise<TodoPage> {
    const page = await context.newPage();
    faults.watch(page);
    await page.goto(url);
    await page.getByRole("button", { name: user }).click();
    const todo = new TodoPage(page);
    await todo.isReady();
    return todo;
  }

  async isReady(): Promise<void> {
    await this.page.getByRole("textbox", { name: "New entry" }).waitFor();
  }

  async add(title: string): Promise<void> {
    await this.page.getByRole("textbox", { name: "New entry" }).fill(title);
    await this.page.getByRole("button", { name: "Add" }).click();
    await this.has(title);
  }

  async rename(from: string, to: string): Promise<void> {
    const input = this.page.getByRole("textbox", { name: `Title of ${from}`, exact: true });
    await input.fill(to);
    await input.press("Enter");
    await this.has(to);
  }

  /** Waits until a title is there. */
  async has(title: string): Promise<void> {
    await this.page.getByRole("textbox", { name: `Title of ${title}`, exact: true }).waitFor();
  }

  /** Waits until a title is not there. */
  async lacks(title: string): Promise<void> {
    await this.page.getByRole("textbox", { name: `Title of ${title}`, exact: true }).waitFor({ state: "detached" });
  }

  /** Waits until the badge says so. */
  async says(text: string): Promise<void> {
    await this.page.locator(".badge", { hasText: text }).waitFor();
  }

  async titles(): Promise<string[]> {
    const inputs = await this.page.locator(".todos .title").all();
    return Promise.all(inputs.map((input) => input.inputValue()));
  }

  get notices() {
    return this.page.locator(".notices article");
  }
}
