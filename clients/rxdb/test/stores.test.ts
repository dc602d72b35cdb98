import { test } from "node:test";
import { Random, Server, stores } from "@syncflow-server/test-support";
import { play } from "./history.js";

/** The other suites play thousands of histories over SQLite; the adapter should not notice which store there is. */
const HISTORIES = Number(process.env["SYNCFLOW_CASES"] ?? 4);

for (const store of stores().filter((name) => name !== "sqlite")) {
  test(`random histories converge over ${store} too`, { timeout: 3_600_000 }, async () => {
    const server = await Server.start({ auth: true, store });
    try {
      for (let seed = 0; seed < HISTORIES; seed++) {
        await play(server, new Random(seed), { restores: false }).catch((error) => {
          throw new Error(`SYNCFLOW_SEED=${seed}`, { cause: error });
        });
      }
    } finally {
      await server.close();
    }
  });
}
