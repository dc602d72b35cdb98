// The application's own backend, which knows its users and makes their tokens. Here it is a part of Vite's server, and
// takes everybody's word for who they are; yours asks for a password or an identity provider.
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Connect, Plugin } from "vite";

/** The lists that each user may see. The rules of the server compare them with the field `list` of a todo. */
const LISTS: Record<string, string[]> = { ann: ["groceries", "ann"], bob: ["groceries", "bob"] };
const SERVER = process.env["SYNCFLOW_URL"] ?? "http://localhost:3000";
const SECRET_FILE = new URL("secret.txt", import.meta.url);
const TOKEN_SECONDS = 600;

/** `GET /session?user=ann` answers the user's lists, the address of the sync server, and a token for it. */
export function backend(): Plugin {
  const answer: Connect.NextHandleFunction = (request, response) => {
    const user = new URL(request.url ?? "", SERVER).searchParams.get("user") ?? "";
    const lists = Object.hasOwn(LISTS, user) ? LISTS[user] : undefined;
    response.statusCode = lists ? 200 : 404;
    response.setHeader("content-type", "application/json");
    response.setHeader("cache-control", "no-store");
    response.end(JSON.stringify(lists ? { user, lists, url: SERVER, token: token(user, lists) } : {}));
  };
  return {
    name: "backend",
    configureServer: ({ middlewares }) => void middlewares.use("/session", answer),
    configurePreviewServer: ({ middlewares }) => void middlewares.use("/session", answer),
  };
}

/** A JSON Web Token that is signed with the secret that the sync server has too. */
function token(subject: string, lists: string[]): string {
  const secret = readFileSync(SECRET_FILE, "utf8").trimEnd();
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + TOKEN_SECONDS;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: subject, lists, exp })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
