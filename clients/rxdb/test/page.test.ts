import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import "fake-indexeddb/auto";
import { Server, until } from "@syncflow-server/test-support";

const repository = new URL("../../../../", import.meta.url);
const EXAMPLE = /```js\n([\s\S]*?)```/;

async function example(page: string): Promise<string> {
  const text = await readFile(new URL(page, repository), "utf8");
  return EXAMPLE.exec(text)?.[1] ?? assert.fail(`${page} has no example`);
}

test("the first lines of the page for authors of clients run as they are, and are those of the README", async () => {
  const lines = await example("docs/writing-a-client.md");
  assert.equal(lines, await example("clients/README.md"));
  const program = new URL("./example.mjs", import.meta.url);
  await writeFile(program, `${lines}export { database };\n`);
  const server = await Server.start();
  const plainFetch = globalThis.fetch;
  globalThis.fetch = (url, init) => plainFetch(String(url).replace("http://localhost:3000", server.url), init);
  try {
    const { database } = await import(program.href);
    await until("the document", async () => {
      const titles = [...(await server.documents("todos")).values()].map(({ title }) => title);
      return titles.includes("Buy milk");
    });
    await database.remove();
  } finally {
    globalThis.fetch = plainFetch;
    await server.close();
  }
});
