/** Frames of a chat stream as what happened to the answer. Pure. */
import { failureOf, type Failure } from "./failure";
import type { Frame } from "./sse";

export type Waiting =
  | { for: "queue"; position?: number | undefined; size?: number | undefined }
  | { for: "cold_start" }
  | { for: "loading"; detail?: string | undefined }
  | { for: "running"; detail?: string | undefined }
  | { for: "other"; detail: string };

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  estimated: boolean;
}

/** What to know about an answer that is whole all the same. */
export interface Warning {
  code: string;
  detail: string;
}

export type AnswerEvent =
  | { type: "warning"; warning: Warning }
  | { type: "waiting"; waiting: Waiting }
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "finish"; reason: string }
  | { type: "usage"; usage: Usage }
  | { type: "failure"; failure: Failure }
  | { type: "done" };

export function eventsOf(frame: Frame): AnswerEvent[] {
  if (frame.kind === "comment") {
    const waiting = waitingOf(frame.text);
    if (waiting) return [{ type: "waiting", waiting }];
    const warning = warningOf(frame.text, "warning ");
    return warning ? [{ type: "warning", warning }] : [];
  }
  if (frame.text.trim() === "[DONE]") return [{ type: "done" }];
  let chunk: Chunk;
  try {
    chunk = JSON.parse(frame.text) as Chunk;
  } catch {
    const message = "An event of the stream is not JSON.";
    return [{ type: "failure", failure: { code: "protocol", message } }];
  }
  if (chunk?.error) return [{ type: "failure", failure: failureOf(chunk.error) }];
  return chunkEvents(chunk ?? {});
}

interface Chunk {
  error?: unknown;
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null; reasoning?: string | null };
    finish_reason?: string | null;
  }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number; estimated?: boolean } | null;
}

function chunkEvents(chunk: Chunk): AnswerEvent[] {
  const events: AnswerEvent[] = [];
  const choice = chunk.choices?.[0];
  const reasoning = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning;
  if (reasoning) events.push({ type: "reasoning", text: String(reasoning) });
  if (choice?.delta?.content) events.push({ type: "text", text: String(choice.delta.content) });
  if (choice?.finish_reason) events.push({ type: "finish", reason: choice.finish_reason });
  const usage = chunk.usage;
  if (usage && typeof usage.completion_tokens === "number") {
    const { prompt_tokens = 0, completion_tokens, estimated = false } = usage;
    events.push({ type: "usage", usage: { prompt_tokens, completion_tokens, estimated } });
  }
  return events;
}

/** `waiting queue position=3 size=10`, `waiting cold_start`, `waiting loading detail="..."`. */
export function waitingOf(comment: string): Waiting | undefined {
  const [word, what, ...rest] = comment.trim().split(" ");
  if (word !== "waiting" || !what) return undefined;
  const facts = factsOf(rest.join(" "));
  if (what === "queue") {
    return { for: "queue", position: whole(facts["position"]), size: whole(facts["size"]) };
  }
  if (what === "cold_start") return { for: "cold_start" };
  if (what === "loading" || what === "running") return { for: what, detail: facts["detail"] };
  return { for: "other", detail: facts["detail"] ?? what.replaceAll("_", " ") };
}

/** `warning history_lost the thread is gone`; in the header of that name the first word is left out. */
export function warningOf(text: string, before = ""): Warning | undefined {
  if (!text.startsWith(before)) return undefined;
  const [code, ...detail] = text.slice(before.length).trim().split(" ");
  return code ? { code, detail: detail.join(" ") } : undefined;
}

/** A warning as a sentence; none for what is shown in another way. */
export function warningWords(warning: Warning): string | undefined {
  switch (warning.code) {
    case "usage_estimated":
      return undefined;
    case "text_differs":
      return "The server's final text differs from what it streamed.";
    case "history_lost":
      return "The server has lost the earlier turns of this conversation.";
    case "parameter_dropped":
      return `Not obeyed: ${warning.detail}`;
    default:
      return `${warning.code.replaceAll("_", " ")}: ${warning.detail}`;
  }
}

/** What the answer waits for, in words. */
export function waitingWords(waiting: Waiting): string {
  switch (waiting.for) {
    case "queue": {
      if (waiting.position === undefined) return "In the queue";
      const size = waiting.size === undefined ? "" : ` of ${waiting.size}`;
      return `In the queue: place ${waiting.position}${size}`;
    }
    case "cold_start":
      return "The model is starting";
    case "loading":
      return waiting.detail ? `Loading: ${waiting.detail}` : "The model is loading";
    case "running":
      return waiting.detail ? `At work: ${waiting.detail}` : "At work";
    case "other":
      return `Waiting: ${waiting.detail}`;
  }
}

function factsOf(text: string): Record<string, string> {
  const facts: Record<string, string> = {};
  for (const [, name, quoted, bare] of text.matchAll(/(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S+))/g)) {
    if (name) facts[name] = quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "";
  }
  return facts;
}

function whole(text: string | undefined): number | undefined {
  const value = Number(text);
  return text !== undefined && Number.isInteger(value) ? value : undefined;
}
