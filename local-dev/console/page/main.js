// The console: sign-in, and the view that the address names.

import { Api, Problem, Session } from "./api.js";
import { button, make, notice, shorten } from "./dom.js";
import { Log } from "./log.js";
import { clients } from "./views/clients.js";
import { conflicts } from "./views/conflicts.js";
import { documents } from "./views/documents.js";
import { live } from "./views/live.js";
import { overview } from "./views/overview.js";

/** The views, by the first part of the address. */
const VIEWS = new Map([
  ["overview", { title: "Overview", show: overview }],
  ["documents", { title: "Documents", show: documents }],
  ["log", { title: "Log", show: live }],
  ["conflicts", { title: "Conflicts", show: conflicts }],
  ["clients", { title: "Clients", show: clients }],
]);
const STATES = { live: "Live", polling: "Polling", offline: "Not connected" };

const header = document.querySelector("#header");
const nav = document.querySelector("#nav");
const content = document.querySelector("#content");
const brand = () => make("a", { class: "brand", href: "#/overview" }, "syncflow");

let shown;

/** Opens what the server lets this session see, or asks who it is. */
async function open(session) {
  try {
    await new Api(session).get("/stats");
  } catch (error) {
    if (error instanceof Problem && error.status === 401) {
      return askToken(session.token ? error.message : "");
    }
    if (error instanceof Problem && [400, 403].includes(error.status) && session.token) {
      return askTenant(session, session.tenant || error.kind !== "tenant_needed" ? error.message : "");
    }
    return askAgain(session, error.message);
  }
  session.store();
  await start(session);
}

async function start(session) {
  const api = new Api(session);
  const log = new Log(api);
  const state = make("span", { class: "state", role: "status" });
  const { sub, role } = session.claims();
  const tenant = session.tenant || "the tenant of the token";
  const who = session.token
    ? [
      button(session.tenant ? shorten(session.tenant, 24) : "Tenant", () => leave(() => askTenant(session, "")), { class: "quiet", title: `Shows ${tenant}; choose another one` }),
      make("span", { class: "who", title: role ? `role ${role}` : undefined }, sub ? shorten(String(sub), 20) : "signed in"),
      button("Sign out", () => leave(() => {
        Session.forget();
        askToken("");
      }), { class: "quiet" }),
    ]
    : [make("span", { class: "who" }, "without sign-in")];
  header.replaceChildren(brand(), state, make("div", { class: "session" }, who));
  const links = [...VIEWS].map(([name, { title }]) => make("a", { href: `#/${name}`, "data-view": name }, title));
  nav.replaceChildren(...links);

  const route = () => {
    const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
    const view = VIEWS.get(name) ?? VIEWS.get("overview");
    const current = VIEWS.has(name) ? name : "overview";
    for (const item of links) {
      if (item.dataset.view === current) item.setAttribute("aria-current", "page");
      else item.removeAttribute("aria-current");
    }
    document.title = `${view.title} · syncflow-server`;
    shown?.abort();
    shown = new AbortController();
    const root = make("div", { class: "view" });
    content.replaceChildren(make("h1", {}, view.title), root);
    view.show({ root, api, log, session, parts: rest, signal: shown.signal });
  };
  const tell = () => {
    state.dataset.state = log.state;
    const text = log.problem ? shorten(log.problem, 80) : STATES[log.state];
    if (state.textContent !== text) state.textContent = text;
  };
  const leave = (next) => {
    removeEventListener("hashchange", onAddress);
    shown?.abort();
    log.close();
    next();
  };
  const onAddress = () => {
    // The link that skips to the content is an address too.
    if (location.hash !== "#content") {
      route();
      content.focus();
    }
  };
  addEventListener("hashchange", onAddress);
  log.addEventListener("change", tell);
  tell();
  route();
  await log.start().catch((error) => {
    log.problem = error.message;
    tell();
  });
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function bare(...children) {
  header.replaceChildren(brand());
  nav.replaceChildren();
  content.replaceChildren(make("div", { class: "door" }, children));
}

function askToken(problem) {
  const token = make("textarea", { id: "token", rows: 4, required: true, autocomplete: "off", spellcheck: "false" });
  const form = make("form", {
    onsubmit: (event) => {
      event.preventDefault();
      void open(new Session({ token: token.value.trim() }));
    },
  }, make("label", { for: "token" }, "Token"), token, make("button", { type: "submit" }, "Sign in"));
  bare(
    make("h1", {}, "Sign in"),
    problem && notice(`${problem}.`, "error"),
    make("p", {}, "Paste a token of the server. It stays in this tab, and is forgotten when the tab is closed."),
    form,
  );
  token.focus();
}

/** The tenants that the token may name: all texts of its lists, and all keys of its objects. The server decides. */
function tenantsOf(session) {
  const found = Object.entries(session.claims()).filter(([claim]) => claim !== "aud").flatMap(([, value]) => {
    if (Array.isArray(value)) return value.filter((name) => typeof name === "string");
    return value !== null && typeof value === "object" ? Object.keys(value) : [];
  });
  return [...new Set(found)].slice(0, 20);
}

async function askTenant(session, problem) {
  const candidates = await Promise.all(tenantsOf(session).map(async (tenant) => {
    const asked = new Session({ token: session.token, tenant });
    return new Api(asked).get("/stats").then(() => asked, () => undefined);
  }));
  const choices = candidates.filter(Boolean).map((asked) => make("li", {}, button(asked.tenant, () => void open(asked), { class: "quiet" })));
  const name = make("input", { id: "tenant", required: true, autocomplete: "off", value: session.tenant || undefined });
  const form = make("form", {
    onsubmit: (event) => {
      event.preventDefault();
      void open(new Session({ token: session.token, tenant: name.value }));
    },
  }, make("label", { for: "tenant" }, choices.length > 0 ? "Another tenant" : "Tenant"), name, make("button", { type: "submit" }, "Open"));
  bare(
    make("h1", {}, "Choose a tenant"),
    problem && notice(`${problem}.`, "error"),
    choices.length > 0 && make("ul", { class: "choices" }, choices),
    form,
    button("Use another token", () => askToken(""), { class: "quiet" }),
  );
}

function askAgain(session, problem) {
  bare(
    make("h1", {}, "The server does not answer as expected"),
    notice(`${problem}.`, "error"),
    button("Try again", () => void open(session)),
    session.token && button("Use another token", () => askToken(""), { class: "quiet" }),
  );
}

void open(Session.stored());
