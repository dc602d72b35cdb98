import { createServer, type Server as HttpServer } from "node:http";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, Server } from "@syncflow-server/test-support";

const todo = fileURLToPath(new URL("../../../../examples/todo/", import.meta.url));
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
const LISTS: Record<string, string[]> = { ann: ["groceries", "ann"], bob: ["groceries", "bob"] };
const TENANT = "family";

/** The built todo application with its backend, and the sync server that both users share. */
export class Site {
  /** The life of the tokens that the backend makes. */
  tokenSeconds = 600;
  /** How often the backend was asked for a token of a user. */
  readonly asked: string[] = [];

  private constructor(readonly server: Server, readonly http: HttpServer) {}

  static async start(): Promise<Site> {
    // Pages know the address of the sync server, so it must stay the same when that starts again.
    const settings = { PORT: String(await freePort()), RULES_FILE: join(todo, "rules.toml") };
    const server = await Server.start({ auth: true, settings });
    const http = createServer((request, response) => {
      const url = new URL(request.url ?? "", "http://site");
      const answer = url.pathname === "/session" ? site.#session(url) : file(url.pathname);
      answer.then(
        ([type, body]) => response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(body),
        () => response.writeHead(404).end(),
      );
    });
    const site = new Site(server, http);
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    return site;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  token(user: string, seconds = this.tokenSeconds): string {
    const claims = { lists: LISTS[user] ?? [] };
    return this.server.token({ tenant: TENANT, subject: user, role: "writer", seconds, claims });
  }

  /** The titles on the server, by an admin's look at it. */
  async titles(): Promise<string[]> {
    const found = await this.server.documents("todos", TENANT);
    return [...found.values()].map(({ title }) => String(title)).sort();
  }

  async close(): Promise<void> {
    this.http.closeAllConnections();
    await new Promise((resolve) => this.http.close(resolve));
    await this.server.close();
  }

  async #session(url: URL): Promise<[string, string]> {
    const user = url.searchParams.get("user") ?? "";
    this.asked.push(user);
    const session = { user, lists: LISTS[user], url: this.server.url, token: this.token(user) };
    return ["application/json", JSON.stringify(session)];
  }
}

async function file(path: string): Promise<[string, Buffer]> {
  const name = path === "/" ? "index.html" : normalize(path);
  return [TYPES[extname(name)] ?? "application/octet-stream", await readFile(join(todo, "dist", name))];
}
