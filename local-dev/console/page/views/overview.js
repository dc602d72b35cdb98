// Growth: what the tenant keeps, and what the log says about where it comes from.

import { bytes, count, draw, link, make, notice, table } from "../dom.js";

const SAMPLES_MAX = 120;
const SAMPLE_MS = 5_000;

/** The numbers since the page was opened; they survive a change of the view. */
const samples = new WeakMap();

export function overview({ root, api, log, signal }) {
  const cards = make("dl", { class: "cards" });
  const chart = make("figure", { class: "chart" });
  const problem = make("div");
  const rest = make("div");
  root.append(problem, cards, chart, rest);
  const taken = samples.get(log) ?? [];
  samples.set(log, taken);

  const sample = async () => {
    try {
      const stats = await api.get("/stats");
      if (signal.aborted) return;
      taken.push(stats);
      if (taken.length > SAMPLES_MAX) taken.shift();
      problem.replaceChildren();
      drawCards(cards, stats);
      drawChart(chart, taken);
    } catch (error) {
      if (!signal.aborted) problem.replaceChildren(notice(`${error.message}.`, "error"));
    }
  };
  const show = () => rest.replaceChildren(...collections(log));
  const timer = setInterval(() => void sample(), SAMPLE_MS);
  log.addEventListener("change", show, { signal });
  log.addEventListener("change", () => void sample(), { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
  void sample();
  show();
}

function drawCards(cards, { totalDocuments, totalOperations, unsyncedOperations }) {
  const card = (title, value, hint) =>
    make("div", { class: "card" }, make("dt", {}, title), make("dd", {}, count(value), make("small", {}, hint)));
  cards.replaceChildren(
    card("Documents", totalDocuments, "that are not deleted"),
    card("Entries in the log", totalOperations, "a compaction removes old ones"),
    card("Greatest lag", unsyncedOperations, "entries that the slowest active client has not pulled"),
  );
}

function drawChart(figure, taken) {
  const values = taken.map(({ totalOperations }) => totalOperations);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const x = (index) => (values.length === 1 ? 0 : (index / (values.length - 1)) * 600);
  const y = (value) => (most === least ? 60 : 110 - ((value - least) / (most - least)) * 100);
  const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const label = `Entries in the log since this page was opened: from ${count(values[0])} to ${count(values.at(-1))}`;
  const line = values.length === 1 ? `0,${y(values[0])} 600,${y(values[0])}` : points;
  figure.replaceChildren(
    draw("svg", { viewBox: "0 0 600 120", preserveAspectRatio: "none", role: "img", "aria-label": label },
      draw("polyline", { class: "curve", points: line })),
    make("figcaption", {}, `${label}.`),
  );
}

function collections(log) {
  const found = log.summary("collection").sort((a, b) => b.characters - a.characters);
  if (found.length === 0) return [notice("The log has no entries yet.")];
  const whole = found.reduce((sum, { characters }) => sum + characters, 0);
  const rows = found.slice(0, 50).map(({ name, entries, characters, documents }) => [
    make("a", { href: link("documents", name) }, name),
    count(documents.size),
    count(entries),
    bytes(characters),
    make("meter", { min: 0, max: whole, value: characters, "aria-label": `part of ${name}` }),
  ]);
  return [
    table("Collections in the log", ["Collection", "Documents", "Entries", "Size", "Part"], rows),
    ...partial(log),
  ];
}

/** Says what the page has not read. */
export function partial(log) {
  const notes = [];
  if (!log.isWhole) {
    const read = () => void log.readFromBeginning();
    notes.push(make("p", { class: "notice note" }, "This is about the newest entries only. ",
      make("button", { type: "button", class: "quiet", onclick: read }, "Read the log from its beginning")));
  }
  if (log.isCondensed) {
    notes.push(notice("Some entries are whole documents. They stand for history that a compaction has removed, or that you may not see."));
  }
  return notes;
}
