/**
 * The open conversation and the answers that run: the one place that changes state.
 *
 * Events of a stream are gathered and shown once per frame; the conversation is a value, so what
 * did not change is not drawn again. A running answer belongs to its conversation: looking at
 * another one does not stop it.
 */
import { batch, computed, signal } from "@preact/signals";

import type { AnswerEvent } from "../gateway/answer";
import { ask } from "../gateway/chat";
import { GatewayError } from "../gateway/calls";
import * as talk from "./conversation";
import type { Conversation, Reply, Settings } from "./conversation";
import * as storage from "./storage";
import type { Summary } from "./storage";
import { announce, toast } from "../ui/notices";

const CHOSEN = "penstock-models";
const SAVE_AFTER = 1000;

export const summaries = signal<Summary[]>([]);
export const chosen = signal<readonly string[]>(readChosen());
export const current = signal<Conversation>(fresh());
export const running = computed(() => talk.isRunning(current.value));

/** Conversations that are open or have running answers. */
const loaded = new Map<string, Conversation>();
const aborts = new Map<string, AbortController>();
const saves = new Map<string, ReturnType<typeof setTimeout>>();

// --- the list --------------------------------------------------------------------------------

export async function refresh(): Promise<void> {
  summaries.value = await storage.list();
}

export function startNew(): void {
  const { instructions, temperature, maxTokens } = current.value;
  current.value = { ...fresh(), instructions, temperature, maxTokens };
}

export async function open(id: string): Promise<boolean> {
  if (current.value.id === id) return true;
  const found = loaded.get(id) ?? (await storage.load(id));
  if (!found) return false;
  const conversation = loaded.has(id) ? found : talk.interrupted(found);
  batch(() => {
    current.value = conversation;
    if (conversation.models.length) choose(conversation.models);
  });
  return true;
}

export async function remove(id: string): Promise<void> {
  const kept = loaded.get(id) ?? (await storage.load(id));
  stop(id);
  clearTimeout(saves.get(id));
  loaded.delete(id);
  await storage.remove(id);
  if (current.value.id === id) startNew();
  await refresh();
  if (kept) {
    toast("The conversation is deleted.", "Undo", () => {
      void storage.save(talk.interrupted(kept)).then(refresh);
    });
  }
}

export async function rename(id: string, title: string): Promise<void> {
  const found = loaded.get(id) ?? (current.value.id === id ? current.value : await storage.load(id));
  if (!found || !title.trim()) return;
  update({ ...found, title: title.trim() });
  await flush(id);
  await refresh();
}

// --- models and settings ---------------------------------------------------------------------

export function choose(models: readonly string[]): void {
  chosen.value = [...new Set(models)].slice(0, talk.MAX_MODELS);
  try {
    localStorage.setItem(CHOSEN, JSON.stringify(chosen.value));
  } catch {
    // Without storage the choice lasts as long as the tab.
  }
}

export function adjust(settings: Settings): void {
  const changed = { ...current.value, ...settings };
  if (current.value.turns.length) update(changed);
  else current.value = changed;
}

// --- asking ----------------------------------------------------------------------------------

export function send(question: string): void {
  const now = Date.now();
  const turnId = newId();
  const models = chosen.value;
  update(talk.addTurn({ ...current.value, models }, turnId, question, now));
  const { id } = current.value;
  // At once, so that the list has it and a closed tab does not lose the question.
  void flush(id).then(refresh);
  for (const model of models) void run(id, turnId, model);
}

/** Ask this model the same question again; the earlier reply stays as a version. */
export function retry(turnId: string, model: string): void {
  const now = Date.now();
  update(talk.changeAnswer(current.value, turnId, model, (a) => talk.addVersion(a, now)));
  void run(current.value.id, turnId, model);
}

/** Ask another question in the place of this one; what followed goes, but can be had back. */
export function edit(turnId: string, question: string): void {
  const old = current.value;
  stop(old.id);
  const at = old.turns.findIndex((turn) => turn.id === turnId);
  current.value = talk.before(old, turnId);
  send(question);
  const dropped = old.turns.length - at - 1;
  if (dropped > 0) {
    const what = dropped === 1 ? "The turn" : `The ${dropped} turns`;
    toast(`${what} after it made way.`, "Undo", () => {
      stop(old.id);
      update(talk.interrupted(old));
    });
  }
}

export function show(turnId: string, model: string, version: number): void {
  update(talk.changeAnswer(current.value, turnId, model, (a) => ({ ...a, shown: version })));
}

/** Stop the answers of a conversation, of one turn of it, or of one model in that. */
export function stop(id: string = current.value.id, turnId = "", model = ""): void {
  const prefix = [id, turnId, model].filter(Boolean).join("\n");
  for (const [name, abort] of aborts) {
    if (name === prefix || name.startsWith(`${prefix}\n`)) abort.abort();
  }
}

async function run(id: string, turnId: string, model: string): Promise<void> {
  const name = `${id}\n${turnId}\n${model}`;
  const abort = new AbortController();
  aborts.set(name, abort);
  const draft = new Draft(id, turnId, model);
  try {
    const conversation = loaded.get(id) ?? current.value;
    const { temperature, maxTokens: max_tokens } = conversation;
    const messages = talk.history(conversation, turnId, model);
    await ask({ model, messages, temperature, max_tokens }, draft, abort.signal);
    draft.settle("done");
    announce(`${model} has answered.`);
  } catch (error) {
    if (abort.signal.aborted) draft.settle("stopped");
    else if (error instanceof GatewayError) draft.fail(error);
    else {
      draft.fail(new GatewayError({ code: "protocol", message: String(error) }));
      throw error;
    }
  } finally {
    if (aborts.get(name) === abort) aborts.delete(name);
    await flush(id);
    await refresh();
    if (current.value.id !== id && !talk.isRunning(loaded.get(id) ?? fresh())) loaded.delete(id);
  }
}

/** The reply that grows; shown once per frame. */
class Draft {
  #reply: Reply;
  #started = performance.now();
  #scheduled = false;

  constructor(
    readonly id: string,
    readonly turnId: string,
    readonly model: string,
  ) {
    this.#reply = talk.startReply(Date.now());
  }

  route(route: Reply["route"]): void {
    this.#reply = { ...this.#reply, route };
  }

  event(event: AnswerEvent): void {
    this.#reply = talk.advance(this.#reply, event, performance.now() - this.#started);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden tab draws no frames, but goes on receiving.
    if (document.hidden) setTimeout(() => this.#show(), 250);
    else requestAnimationFrame(() => this.#show());
  }

  settle(state: talk.ReplyState): void {
    this.#reply = talk.settle(this.#reply, state);
    this.#show();
  }

  fail(error: GatewayError): void {
    this.#reply = talk.settle(this.#reply, "failed", error.failure);
    this.#show();
    announce(`${this.model}: the answer failed.`);
  }

  #show(): void {
    this.#scheduled = false;
    const conversation = loaded.get(this.id);
    if (!conversation) return;
    update(
      talk.changeAnswer(conversation, this.turnId, this.model, (a) =>
        talk.changeLast(a, this.#reply),
      ),
    );
  }
}

// --- keeping ---------------------------------------------------------------------------------

function update(conversation: Conversation): void {
  const { id } = conversation;
  loaded.set(id, conversation);
  if (current.value.id === id) current.value = conversation;
  if (!saves.has(id)) saves.set(id, setTimeout(() => void flush(id), SAVE_AFTER));
}

async function flush(id: string): Promise<void> {
  clearTimeout(saves.get(id));
  saves.delete(id);
  const conversation = loaded.get(id);
  if (!conversation) return;
  try {
    await storage.save(conversation);
  } catch {
    toast("This browser has no room left for conversations.");
  }
}

/** Before the tab goes: keep what there is. */
export function flushAll(): void {
  for (const id of [...saves.keys()]) void flush(id);
}

/** 128 random bits; `randomUUID` is for secure origins only. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fresh(): Conversation {
  return talk.startConversation(newId(), [], Date.now());
}

function readChosen(): readonly string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(CHOSEN) ?? "[]");
    return Array.isArray(stored) ? stored.filter((m) => typeof m === "string") : [];
  } catch {
    return [];
  }
}
