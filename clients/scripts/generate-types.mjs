// Writes client/src/openapi.ts from the /openapi.json of a server, which it starts.
import { writeFile } from "node:fs/promises";
import { Server, typesOf } from "@syncflow-server/test-support";

const server = await Server.start();
try {
  const types = typesOf(await server.ask("/openapi.json"));
  await writeFile(new URL("../client/src/openapi.ts", import.meta.url), types);
} finally {
  await server.close();
}
