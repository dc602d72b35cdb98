import { after, before, test } from "node:test";
import { Random, Server } from "@syncflow-server/test-support";
import { type HistoryOptions, play, RULES_OF_LISTS } from "./history.js";

/** Histories of each kind. SYNCFLOW_CASES asks for more, and SYNCFLOW_SEED for the one that failed. */
const HISTORIES = Number(process.env["SYNCFLOW_CASES"] ?? 100);
const SEED = process.env["SYNCFLOW_SEED"];
/** A restore stops the server for all, so there are fewer of them. */
const RESTORES_OF = 6;
/** A device that may see other documents starts again from nothing, which takes its time. */
const GRANTS_OF = 3;

let server: Server;

before(async () => {
  server = await Server.start({ auth: true });
});
after(() => server.close());

async function playAll(histories: number, options: HistoryOptions, on = server): Promise<void> {
  const seeds = SEED === undefined ? Array.from({ length: histories }, (_, seed) => seed) : [Number(SEED)];
  const failures: string[] = [];
  for (const seed of seeds) {
    try {
      await play(on, new Random(seed), options);
    } catch (error) {
      failures.push(`SYNCFLOW_SEED=${seed}: ${(error as Error).stack}`);
    }
  }
  if (failures.length > 0) throw new Error(failures.slice(0, 5).join("\n"));
}

test("random histories converge, and no write is lost in silence", { timeout: 3_600_000 }, () =>
  playAll(HISTORIES, { restores: false }));

test("random histories with a restored database converge, and no write is lost in silence", { timeout: 3_600_000 }, () =>
  playAll(Math.ceil(HISTORIES / RESTORES_OF), { restores: true }));

test("random histories of users whose grants change converge, and no write is lost in silence", { timeout: 3_600_000 }, async () => {
  const ruled = await Server.start({ auth: true, settings: { RULES: RULES_OF_LISTS } });
  try {
    await playAll(Math.ceil(HISTORIES / GRANTS_OF), { restores: false, grants: true }, ruled);
  } finally {
    await ruled.close();
  }
});
