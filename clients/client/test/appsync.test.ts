import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const TEMPLATE = new URL("../../../../template.yaml", import.meta.url);

/** The handler of the template for a claim, with a stand-in for the library of AppSync. */
async function handler(claim: string): Promise<(ctx: unknown) => void> {
  const template = await readFile(TEMPLATE, "utf8");
  const code = /CodeHandlers: !Sub \|\n((?: {8}.*\n|\n)+)/.exec(template)?.[1] ?? assert.fail("the template has no handler");
  const util = `const util = {
    urlEncode: (text) => encodeURIComponent(text).replace(/[!'()~]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase())
      .replaceAll("%20", "+"),
    unauthorized: () => { throw new Error("unauthorized"); },
  };`;
  const module = code.replace(/^ *import .*$/m, util).replaceAll("${AuthTenantClaim}", claim);
  return (await import(`data:text/javascript,${encodeURIComponent(module)}`)).onSubscribe;
}

test("a subscriber of the Event API hears of the tenants in its token and of no others", async () => {
  const may = async (claim: string, claims: object, path: string) => {
    const onSubscribe = await handler(claim);
    try {
      onSubscribe({ identity: { claims }, info: { channel: { path } } });
      return true;
    } catch (error) {
      assert.equal((error as Error).message, "unauthorized");
      return false;
    }
  };
  // The same names and channels as in the tests of the functions.
  for (const [tenant, segment] of [
    ["team1", "team1"],
    ["a-b", "a-2Db"],
    ["ann@example.com", "ann-40example-2Ecom"],
    ["auth0|5f", "auth0-7C5f"],
    ["\u00e9/ _", "-C3-A9-2F-20-5F"],
  ]) {
    assert.ok(await may("tenant", { tenant }, `/syncflow/${segment}`), tenant);
    assert.ok(!(await may("tenant", { tenant: `${tenant}x` }, `/syncflow/${segment}`)), tenant);
  }
  assert.ok(await may("app.teams", { app: { teams: ["a", "b"] } }, "/syncflow/b"));
  for (const path of ["/syncflow/c", "/syncflow/*", "/syncflow", "/other/a"]) {
    assert.ok(!(await may("app.teams", { app: { teams: ["a", "b"] } }, path)), path);
  }
  assert.ok(!(await may("tenant", {}, "/syncflow/undefined")));
});
