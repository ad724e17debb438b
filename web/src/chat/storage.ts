/**
 * Conversations in this browser: IndexedDB, one record each, and one short one for the list.
 * Nothing leaves the machine. Where the browser offers no storage (some private windows), they
 * live as long as the tab. Other tabs are told of each change of the list.
 */
import type { Conversation } from "./conversation";

export interface Summary {
  id: string;
  title: string;
  updated: number;
}

const DATABASE = "penstock";
const WHOLE = "conversations";
const SHORT = "summaries";
const memory = new Map<string, Conversation>();
const tabs = new BroadcastChannel("penstock");
let opened: Promise<IDBDatabase | undefined> | undefined;

/** Hear of changes that other tabs make to the list. */
export function onChange(listener: () => void): void {
  tabs.addEventListener("message", listener);
}

export async function list(): Promise<Summary[]> {
  const kept = await run("readonly", (stores) => stores(SHORT).getAll());
  const all = (kept as Summary[] | undefined) ?? [...memory.values()].map(summaryOf);
  return all.sort((a, b) => b.updated - a.updated);
}

export async function load(id: string): Promise<Conversation | undefined> {
  const kept = await run("readonly", (stores) => stores(WHOLE).get(id));
  return (kept as Conversation | undefined) ?? memory.get(id);
}

export async function save(conversation: Conversation): Promise<void> {
  const done = await run("readwrite", (stores) => {
    stores(SHORT).put(summaryOf(conversation));
    return stores(WHOLE).put(conversation);
  });
  if (done === undefined) memory.set(conversation.id, conversation);
  tabs.postMessage("saved");
}

export async function remove(id: string): Promise<void> {
  memory.delete(id);
  await run("readwrite", (stores) => {
    stores(SHORT).delete(id);
    return stores(WHOLE).delete(id);
  });
  tabs.postMessage("removed");
}

function summaryOf({ id, title, updated }: Conversation): Summary {
  return { id, title, updated };
}

type Stores = (name: typeof WHOLE | typeof SHORT) => IDBObjectStore;

/** The result of the last request, once all are kept; undefined without a database. */
async function run(
  mode: IDBTransactionMode,
  request: (stores: Stores) => { readonly result: unknown },
): Promise<unknown> {
  const database = await (opened ??= open());
  if (!database) return undefined;
  return await new Promise((resolve, reject) => {
    const transaction = database.transaction([WHOLE, SHORT], mode);
    const asked = request((name) => transaction.objectStore(name));
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onerror = () => reject(transaction.error ?? new Error("storage failed"));
    transaction.onabort = () => reject(transaction.error ?? new Error("storage is full"));
  });
}

async function open(): Promise<IDBDatabase | undefined> {
  return await new Promise((resolve) => {
    try {
      const asked = indexedDB.open(DATABASE, 1);
      asked.onupgradeneeded = () => {
        for (const name of [WHOLE, SHORT]) asked.result.createObjectStore(name, { keyPath: "id" });
      };
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
}
