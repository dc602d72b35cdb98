// Compares vector clocks, and draws them.

import { draw, shorten } from "./dom.js";

/** Whether the first clock has seen everything that the second one has. */
export function hasSeen(clock, other) {
  return Object.entries(other ?? {}).every(([client, counter]) => (clock?.[client] ?? 0) >= counter);
}

/** The clients whose counters an entry raises, compared with the entry before it. */
export function raised(before, after) {
  return Object.entries(after ?? {}).filter(([client, counter]) => counter > (before?.[client] ?? 0)).map(([client]) => client);
}

/** For each entry, the places of the latest earlier entries that its author had seen. */
export function parents(entries) {
  return entries.map((entry, index) => {
    const found = [];
    for (let earlier = index - 1; earlier >= 0; earlier -= 1) {
      const clock = entries[earlier].vectorClock;
      if (!hasSeen(entry.vectorClock, clock)) continue;
      if (!found.some((known) => hasSeen(entries[known].vectorClock, clock))) found.push(earlier);
    }
    return found;
  });
}

const STEP = 64;
const LANE = 44;
const LETTER = 7.5;
const NAME_MAX_LETTERS = 16;
/** A drawing with more entries cannot be read. */
export const DRAWN_MAX_ENTRIES = 40;

/** Draws entries from left to right, a line for each client, and an arrow from each entry to those that had seen it. */
export function drawing(all) {
  const entries = all.slice(-DRAWN_MAX_ENTRIES);
  const clients = [...new Set(entries.map(({ clientId }) => clientId))];
  const names = 20 + LETTER * Math.min(NAME_MAX_LETTERS, Math.max(...clients.map((client) => client.length)));
  const x = (index) => names + 28 + index * STEP;
  const y = (entry) => 28 + clients.indexOf(entry.clientId) * LANE;
  const width = x(entries.length - 1) + 40;
  const height = 20 + clients.length * LANE;
  const lanes = clients.map((client, index) => [
    draw("line", { class: "lane", x1: names, x2: width - 8, y1: 28 + index * LANE, y2: 28 + index * LANE }),
    draw("text", { class: "name", x: names - 10, y: 32 + index * LANE }, shorten(client, NAME_MAX_LETTERS), draw("title", {}, client)),
  ]);
  const arrows = parents(entries).flatMap((list, index) => list.map((from) => {
    const [x1, y1, x2, y2] = [x(from), y(entries[from]), x(index), y(entries[index])];
    const length = Math.hypot(x2 - x1, y2 - y1);
    const [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
    // An arrow along a line makes a curve around the entries between.
    const bend = y1 === y2 && index - from > 1 ? -LANE * 0.45 : 0;
    const path = `M ${x1 + dx * 13} ${y1 + dy * 13} Q ${(x1 + x2) / 2} ${(y1 + y2) / 2 + bend * 2} ${x2 - dx * 16} ${y2 - dy * 16}`;
    return draw("path", { class: "seen", d: path, "marker-end": "url(#tip)" });
  }));
  const dots = entries.map((entry, index) => draw(
    "g", { class: `entry ${entry.type}` },
    draw("circle", { cx: x(index), cy: y(entry), r: 12 }),
    draw("text", { x: x(index), y: y(entry) + 4 }, String(entry.vectorClock?.[entry.clientId] ?? "?")),
    draw("title", {}, `${entry.type} by ${entry.clientId}, ${JSON.stringify(entry.vectorClock)}`),
  ));
  const tip = draw("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    draw("path", { class: "tip", d: "M 0 0 L 8 4 L 0 8 z" }));
  const label = `${entries.length} entries of ${clients.length} clients, as in the table below`;
  return draw("svg", { class: "clocks", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`, width, height },
    draw("defs", {}, tip), lanes.flat(), arrows, dots);
}
