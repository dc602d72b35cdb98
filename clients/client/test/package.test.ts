import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Server, typesOf } from "@syncflow-server/test-support";
import { build } from "esbuild";

const SIZE_MAX_BYTES = 8 * 1024;
const folder = new URL("../../", import.meta.url);

test("the package is smaller than 8 kB, minified and compressed", async () => {
  const entryPoints = [new URL("src/index.ts", folder).pathname];
  const options = { bundle: true, minify: true, write: false, format: "esm", target: "es2022" } as const;
  const { outputFiles } = await build({ entryPoints, ...options });
  const bytes = gzipSync(outputFiles[0]?.contents ?? "").length;
  assert.ok(bytes > 1000 && bytes < SIZE_MAX_BYTES, `${bytes} bytes`);
});

test("the types are those of the server's OpenAPI document; `npm run generate` renews them", async () => {
  const server = await Server.start();
  try {
    const kept = await readFile(new URL("src/openapi.ts", folder), "utf8");
    assert.equal(kept, typesOf(await server.ask("/openapi.json")));
  } finally {
    await server.close();
  }
});
