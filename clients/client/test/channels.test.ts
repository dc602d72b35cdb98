import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { Server } from "@syncflow-server/test-support";

/** The settings of a deployment by which a token grants tenants. */
type Settings = { AuthTenant?: string; AuthTenantClaim?: string; AuthRoleClaim: string };
type Subscribe = (context: object) => void;

const SECRET = "a secret of more than 32 bytes for tests";
const DEPLOYMENTS: Settings[] = [
  { AuthTenantClaim: "team", AuthRoleClaim: "role" },
  { AuthTenantClaim: "app.team", AuthRoleClaim: "app.role" },
  { AuthTenantClaim: "https://x.example/team", AuthRoleClaim: "https://x.example/role" },
  { AuthTenantClaim: "length", AuthRoleClaim: "role" },
  { AuthTenant: "x y", AuthRoleClaim: "role" },
];
const NAMES = ["a", "b", "x y", "o'brien", "ann@example.com", "length", "0", "root", "a.b*(c)~d!-_+%"];
const VALUES = [
  "a", "b", "a.b*(c)~d!-_+%", "o'brien", "", 5, null, true, [], ["a"], ["a", "x y"], [["a"]],
  ["b", 5, "", null, ["a"], { a: "reader" }], {}, { a: "reader", b: "root", "x y": "admin", 0: "writer" },
  { a: 5, b: null, length: "service" }, { a: ["reader"] },
];
const ROLES = [undefined, "reader", "service", "root", "", null, ["admin"], { admin: true }, "length"];

/** The code that admits subscribers of the Event API, as the template has it for these settings. */
function codeOf(settings: Settings): string {
  const template = readFileSync(fileURLToPath(new URL("../../../../template.yaml", import.meta.url)), "utf8");
  const [, behind] = template.split(/^ +CodeHandlers: !Sub \|\n/m);
  const lines = (behind ?? assert.fail("there is no code")).split("\n");
  const end = lines.findIndex((line) => line !== "" && !line.startsWith(" ".repeat(8)));
  const values: Record<string, string> = { AuthTenant: "", AuthTenantClaim: "", ...settings };
  const filled = lines.slice(0, end).join("\n").replace(/\$\{(\w+)\}/g, (_, name) => values[name] ?? assert.fail(name));
  const [first, ...rest] = filled.trim().split("\n");
  assert.equal(first, "import { util } from '@aws-appsync/utils';");
  return rest.join("\n");
}

/** The code as a function. Both ways in which texts are encoded in URLs must do. */
function subscribe(settings: Settings, encoding: "plain" | "form"): Subscribe {
  const plain = (text: string) => encodeURIComponent(text);
  const byte = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  const form = (text: string) => plain(text).replaceAll("%20", "+").replace(/[!'()~]/g, byte);
  const unauthorized = () => {
    throw new Unauthorized();
  };
  const util = { urlEncode: encoding === "plain" ? plain : form, unauthorized };
  return new Function("util", `${codeOf(settings).replace("export function", "function")}\nreturn onSubscribe;`)(util);
}

class Unauthorized extends Error {}

/** The channel to which the functions publish the wake-ups of a tenant. */
function channelOf(tenant: string): string {
  const bytes = [...Buffer.from(tenant)].map((byte) => [String.fromCharCode(byte), byte] as const);
  const written = bytes.map(([character, byte]) =>
    /[0-9A-Za-z]/.test(character) ? character : `-${byte.toString(16).toUpperCase().padStart(2, "0")}`,
  );
  return `/syncflow/${written.join("")}`;
}

function admits(handler: Subscribe, claims: object, path: string): boolean {
  try {
    handler({ identity: { sub: "ann", issuer: "x", claims }, info: { channel: { path, segments: path.split("/") } } });
    return true;
  } catch (error) {
    if (error instanceof Unauthorized) return false;
    throw error;
  }
}

async function serverOf({ AuthTenant, AuthTenantClaim, AuthRoleClaim }: Settings): Promise<Server> {
  const tenant: Record<string, string> = AuthTenant ? { AUTH_TENANT: AuthTenant } : { AUTH_TENANT_CLAIM: AuthTenantClaim ?? "" };
  return await Server.start({ settings: { AUTH_HS256_SECRET: SECRET, AUTH_ROLE_CLAIM: AuthRoleClaim, ...tenant } });
}

/** Whether a server admits a token with these claims to a tenant. */
async function isGranted(server: Server, claims: object, tenant: string): Promise<boolean> {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const payload = { sub: "ann", exp: Math.floor(Date.now() / 1000) + 3600, ...claims };
  const signed = `${encode({ alg: "HS256" })}.${encode(payload)}`;
  const token = `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
  const headers = { authorization: `Bearer ${token}`, "x-syncflow-tenant": tenant };
  const { status } = await fetch(`${server.url}/stats`, { headers, signal: AbortSignal.timeout(60_000) });
  assert.ok([200, 401, 403].includes(status), `${status}`);
  return status === 200;
}

/** Claims in which the tenant, or a part of the path to it, stands in many ways. */
function* manyClaims({ AuthTenantClaim = "tenant", AuthRoleClaim }: Settings): Generator<object> {
  const keys = AuthTenantClaim.split(".");
  const nested = (value: unknown) => keys.reduceRight((inner, key) => ({ [key]: inner }), value) as object;
  for (const value of VALUES) {
    yield { [AuthTenantClaim]: value };
    yield nested(value);
    yield { ...nested(value), [AuthTenantClaim]: "b" };
    yield { [keys[0] ?? ""]: value };
  }
  for (const role of ROLES) {
    for (const value of ["a", ["a", "b"], { a: "reader", b: "root" }]) {
      yield { ...nested(value), [AuthRoleClaim]: role };
      yield { ...nested(value), app: { ...(nested(value) as { app?: object }).app, role } };
    }
  }
}

for (const settings of DEPLOYMENTS) {
  test(`the Event API admits to the channels of tenants that a server grants: ${JSON.stringify(settings)}`, async () => {
    const server = await serverOf(settings);
    try {
      const handlers = [subscribe(settings, "plain"), subscribe(settings, "form")];
      let granted = 0;
      for (const claims of manyClaims(settings)) {
        const expected = await Promise.all(NAMES.map((name) => isGranted(server, claims, name)));
        granted += expected.filter(Boolean).length;
        // AppSync gets the claims as JSON too.
        const read = JSON.parse(JSON.stringify(claims));
        for (const handler of handlers) {
          const found = NAMES.map((name) => admits(handler, read, channelOf(name)));
          assert.deepEqual(found, expected, JSON.stringify(claims));
        }
        for (const path of ["/syncflow/*", "/syncflow", "/syncflow/a/*", "/*", "/other/a"]) {
          assert.ok(!handlers.some((handler) => admits(handler, read, path)), path);
        }
      }
      assert.ok(granted > 10, "some tokens grant something");
    } finally {
      await server.close();
    }
  });
}

test("the code has none of the words and signs that AppSync does not know", () => {
  const code = codeOf({ AuthTenantClaim: "team", AuthRoleClaim: "role" });
  const bare = code.replace(/\/\/.*$/gm, "").replace(/'[^'\n]*'|"[^"\n]*"/g, "''");
  const words = /\b(async|await|catch|class|continue|do|finally|in|new|throw|try|while|yield)\b/;
  assert.doesNotMatch(bare, words);
  assert.doesNotMatch(bare, /\+\+|--|~|`|\b(Array|JSON|Map|Math|RegExp|Set)\b/);
  const calls = new Set([...bare.matchAll(/\.(\w+)\(/g)].map(([, name]) => name));
  const known = ["concat", "filter", "hasOwn", "join", "keys", "some", "split", "unauthorized", "urlEncode"];
  assert.deepEqual([...calls].sort(), known);
});
