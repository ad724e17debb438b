/** One question to one model, streamed. */
import { eventsOf, warningOf, type AnswerEvent, type Warning } from "./answer";
import { call, GatewayError } from "./calls";
import { EventStreamDecoder } from "./sse";

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface Question {
  model: string;
  messages: Message[];
  temperature?: number | undefined;
  max_tokens?: number | undefined;
}

/** Where an answer came from, by the gateway's own headers. */
export interface Route {
  requestId: string;
  target: string;
  attempts: number;
  warnings: readonly Warning[];
}

export interface Listener {
  route(route: Route): void;
  event(event: AnswerEvent): void;
}

/**
 * Ask, and tell the listener all that happens. Returns after the clean end of the stream.
 * Throws `GatewayError`; a body that just stops is one with the code `truncated`.
 */
export async function ask(question: Question, tell: Listener, signal: AbortSignal): Promise<void> {
  const body = { ...question, stream: true, stream_options: { include_usage: true } };
  const response = await call("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify(body),
    signal,
  });
  tell.route({
    requestId: response.headers.get("x-request-id") ?? "",
    target: response.headers.get("x-penstock-target") ?? "",
    attempts: Number(response.headers.get("x-penstock-attempts") ?? "1"),
    warnings: (response.headers.get("warnings") ?? "")
      .split(",")
      .map((text) => warningOf(text.trim()))
      .filter((warning) => warning !== undefined),
  });
  if (!response.body) throw cut();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    await pump(reader, tell);
  } finally {
    // Leaving early has to reach the gateway: it ends the request there.
    reader.cancel().catch(() => undefined);
  }
}

async function pump(reader: ReadableStreamDefaultReader<string>, tell: Listener): Promise<void> {
  const decoder = new EventStreamDecoder();
  for (;;) {
    const { done, value } = await reader.read().catch(rethrow);
    if (done) throw cut();
    for (const event of decoder.feed(value).flatMap(eventsOf)) {
      if (event.type === "failure") throw new GatewayError(event.failure);
      if (event.type === "done") return;
      tell.event(event);
    }
  }
}

function cut(): GatewayError {
  return new GatewayError({ code: "truncated", message: "" });
}

function rethrow(error: unknown): never {
  if (error instanceof DOMException && error.name === "AbortError") throw error;
  throw cut();
}
