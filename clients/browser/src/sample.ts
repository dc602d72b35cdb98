import type { Server } from "@syncflow-server/test-support";

let numbers = 0;

/** One operation of a client, as a client without a package sends it. */
export interface Written {
  client: string;
  collection?: string;
  id: string;
  type?: "insert" | "update" | "delete";
  data?: Record<string, unknown>;
  clock: Record<string, number>;
  timestamp?: number;
}

export async function write(server: Server, written: Written, tenant?: string): Promise<any> {
  const { client, collection = "todos", id, type = "insert", data = {}, clock, timestamp } = written;
  const operation = {
    id: `op-${(numbers += 1)}`,
    type,
    collection,
    docId: id,
    ...(type === "delete" ? {} : { data }),
    timestamp: timestamp ?? Date.now(),
    clientId: client,
    vectorClock: clock,
  };
  return server.ask("/operations", { clientId: client, operations: [operation] }, tenant);
}

/** A document that three clients have written, one of which joined the edits of the two others. */
export async function writeHistory(server: Server, tenant?: string): Promise<void> {
  const at = Date.UTC(2026, 4, 4, 9);
  const steps: Written[] = [
    { client: "phone", id: "milk", data: { title: "Milk", done: false }, clock: { phone: 1 }, timestamp: at },
    { client: "laptop", id: "milk", type: "update", data: { title: "Oat milk" }, clock: { phone: 1, laptop: 1 }, timestamp: at + 60_000 },
    { client: "tablet", id: "milk", type: "update", data: { amount: 2 }, clock: { phone: 1, laptop: 1, tablet: 1 }, timestamp: at + 90_000 },
    { client: "phone", id: "milk", type: "update", data: { title: "Soy milk", amount: 3 }, clock: { phone: 3, laptop: 2, tablet: 1 }, timestamp: at + 200_000 },
    { client: "laptop", id: "milk", type: "update", data: { done: true }, clock: { phone: 3, laptop: 3, tablet: 1 }, timestamp: at + 260_000 },
    { client: "laptop", id: "bread", data: { title: "Bread", done: false }, clock: { laptop: 1 }, timestamp: at + 300_000 },
    { client: "tablet", id: "tea", data: { title: "Tea", done: false }, clock: { tablet: 1 }, timestamp: at + 360_000 },
    { client: "phone", id: "tea", type: "delete", clock: { tablet: 1, phone: 1 }, timestamp: at + 400_000 },
    { client: "phone", collection: "lists", id: "groceries", data: { name: "Groceries", members: ["ann", "bob"] }, clock: { phone: 1 }, timestamp: at + 420_000 },
  ];
  for (const step of steps) await write(server, step, tenant);
}
