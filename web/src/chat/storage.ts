/**
 * Conversations in this browser: IndexedDB, one record each. Nothing leaves the machine.
 * Where the browser offers no storage (some private windows), they live as long as the tab.
 */
import type { Conversation } from "./conversation";

export interface Summary {
  id: string;
  title: string;
  updated: number;
}

const DATABASE = "penstock";
const STORE = "conversations";
const memory = new Map<string, Conversation>();
let opened: Promise<IDBDatabase | undefined> | undefined;

export async function list(): Promise<Summary[]> {
  const all = (await run<Conversation[]>("readonly", (store) => store.getAll())) ?? [
    ...memory.values(),
  ];
  return all
    .map(({ id, title, updated }) => ({ id, title, updated }))
    .sort((a, b) => b.updated - a.updated);
}

export async function load(id: string): Promise<Conversation | undefined> {
  return (await run<Conversation>("readonly", (store) => store.get(id))) ?? memory.get(id);
}

export async function save(conversation: Conversation): Promise<void> {
  const done = await run("readwrite", (store) => store.put(conversation));
  if (done === undefined) memory.set(conversation.id, conversation);
}

export async function remove(id: string): Promise<void> {
  memory.delete(id);
  await run("readwrite", (store) => store.delete(id));
}

export async function removeAll(): Promise<void> {
  memory.clear();
  await run("readwrite", (store) => store.clear());
}

/** The result of one request; undefined without a database. */
async function run<T>(
  mode: IDBTransactionMode,
  request: (store: IDBObjectStore) => { readonly result: unknown },
): Promise<T | undefined> {
  const database = await (opened ??= open());
  if (!database) return undefined;
  return await new Promise<T | undefined>((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const asked = request(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(asked.result as T);
    transaction.onerror = () => reject(transaction.error ?? new Error("storage failed"));
    transaction.onabort = () => reject(transaction.error ?? new Error("storage is full"));
  });
}

async function open(): Promise<IDBDatabase | undefined> {
  return await new Promise((resolve) => {
    try {
      const asked = indexedDB.open(DATABASE, 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore(STORE, { keyPath: "id" });
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
}
