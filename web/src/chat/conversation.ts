/**
 * Conversations as frozen values, and every change to one as a function. Pure.
 *
 * A turn holds one question and, for each model that was asked, an answer. Asking again keeps the
 * earlier replies as versions. What a model sees as its history is decided by `history`.
 */
import type { AnswerEvent, Usage, Waiting, Warning } from "../gateway/answer";
import type { Message, Route } from "../gateway/chat";
import type { Failure } from "../gateway/failure";

export interface Settings {
  instructions: string;
  temperature?: number | undefined;
  maxTokens?: number | undefined;
}

export interface Conversation extends Settings {
  readonly id: string;
  readonly title: string;
  readonly created: number;
  readonly updated: number;
  readonly models: readonly string[];
  readonly turns: readonly Turn[];
}

export interface Turn {
  readonly id: string;
  readonly question: string;
  readonly answers: readonly Answer[];
}

export interface Answer {
  readonly model: string;
  readonly versions: readonly Reply[];
  readonly shown: number;
}

export type ReplyState = "running" | "done" | "stopped" | "failed";

export interface Reply {
  readonly state: ReplyState;
  readonly text: string;
  readonly reasoning: string;
  /** Text events so far: the only count there is before the back end tells its own. */
  readonly pieces: number;
  /** Milliseconds: of a wall clock when asked, since then for the rest. */
  readonly asked: number;
  readonly first?: number | undefined;
  readonly last?: number | undefined;
  readonly waiting?: Waiting | undefined;
  readonly finish?: string | undefined;
  readonly usage?: Usage | undefined;
  readonly failure?: Failure | undefined;
  readonly route?: Route | undefined;
  readonly warnings?: readonly Warning[] | undefined;
}

export const MAX_MODELS = 4;

export function startConversation(id: string, models: readonly string[], now: number): Conversation {
  return { id, title: "", created: now, updated: now, models, turns: [], instructions: "" };
}

export function startReply(now: number): Reply {
  return { state: "running", text: "", reasoning: "", pieces: 0, asked: now };
}

/** The reply after an event that came `at` milliseconds after the question. */
export function advance(reply: Reply, event: AnswerEvent, at: number): Reply {
  switch (event.type) {
    case "text":
      return {
        ...reply,
        text: reply.text + event.text,
        pieces: reply.pieces + 1,
        first: reply.first ?? at,
        last: at,
        waiting: undefined,
      };
    case "reasoning":
      return { ...reply, reasoning: reply.reasoning + event.text, waiting: undefined };
    case "waiting":
      return { ...reply, waiting: event.waiting };
    case "warning":
      return { ...reply, warnings: [...(reply.warnings ?? []), event.warning] };
    case "finish":
      return { ...reply, finish: event.reason };
    case "usage":
      return { ...reply, usage: event.usage };
    case "failure":
      return { ...reply, failure: event.failure };
    case "done":
      return reply;
  }
}

export function settle(reply: Reply, state: ReplyState, failure?: Failure): Reply {
  return { ...reply, state, failure, waiting: undefined };
}

// --- changes of a conversation ---------------------------------------------------------------

export function addTurn(
  conversation: Conversation,
  id: string,
  question: string,
  now: number,
): Conversation {
  const answers = conversation.models.map((model) => ({
    model,
    versions: [startReply(now)],
    shown: 0,
  }));
  return {
    ...conversation,
    title: conversation.title || titleOf(question),
    updated: now,
    turns: [...conversation.turns, { id, question, answers }],
  };
}

/** The conversation up to, but without, this turn. */
export function before(conversation: Conversation, turnId: string): Conversation {
  const at = conversation.turns.findIndex((turn) => turn.id === turnId);
  return at < 0 ? conversation : { ...conversation, turns: conversation.turns.slice(0, at) };
}

export function changeAnswer(
  conversation: Conversation,
  turnId: string,
  model: string,
  change: (answer: Answer) => Answer,
): Conversation {
  const turns = conversation.turns.map((turn) =>
    turn.id === turnId
      ? { ...turn, answers: turn.answers.map((a) => (a.model === model ? change(a) : a)) }
      : turn,
  );
  return { ...conversation, turns };
}

export function addVersion(answer: Answer, now: number): Answer {
  const versions = [...answer.versions, startReply(now)];
  return { ...answer, versions, shown: versions.length - 1 };
}

/** Replies are changed where they were started: the last version is the one that runs. */
export function changeLast(answer: Answer, reply: Reply): Answer {
  return { ...answer, versions: [...answer.versions.slice(0, -1), reply] };
}

export function shownReply(answer: Answer): Reply | undefined {
  return answer.versions[answer.shown];
}

export function isRunning(conversation: Conversation): boolean {
  return conversation.turns.some((turn) =>
    turn.answers.some((answer) => answer.versions.some((reply) => reply.state === "running")),
  );
}

/** What was running when the tab was closed will never end: say so. */
export function interrupted(conversation: Conversation): Conversation {
  if (!isRunning(conversation)) return conversation;
  const mend = (reply: Reply): Reply =>
    reply.state === "running" ? settle(reply, "stopped") : reply;
  const turns = conversation.turns.map((turn) => ({
    ...turn,
    answers: turn.answers.map((a) => ({ ...a, versions: a.versions.map(mend) })),
  }));
  return { ...conversation, turns };
}

// --- what a model is sent --------------------------------------------------------------------

/**
 * The messages for one model and one turn: its own answers of earlier turns, or where it was not
 * asked, the first answer there is. A turn without any text would leave two questions in a row,
 * which back ends refuse: it is left out.
 */
export function history(conversation: Conversation, turnId: string, model: string): Message[] {
  const messages: Message[] = [];
  if (conversation.instructions.trim()) {
    messages.push({ role: "system", content: conversation.instructions });
  }
  for (const turn of conversation.turns) {
    if (turn.id === turnId) {
      messages.push({ role: "user", content: turn.question });
      break;
    }
    const text = textFor(turn, model);
    if (text) {
      messages.push({ role: "user", content: turn.question });
      messages.push({ role: "assistant", content: text });
    }
  }
  return messages;
}

function textFor(turn: Turn, model: string): string {
  const own = turn.answers.find((answer) => answer.model === model);
  const answers = own ? [own, ...turn.answers] : turn.answers;
  return answers.map((answer) => shownReply(answer)?.text).find(Boolean) ?? "";
}

export function titleOf(question: string): string {
  const line = question.trim().split(/\r\n|\r|\n/, 1)[0] ?? "";
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}...` : line;
}

/** The whole conversation as Markdown, for the clipboard. */
export function asMarkdown(conversation: Conversation): string {
  const parts = [`# ${conversation.title}`];
  for (const turn of conversation.turns) {
    parts.push("## Question", turn.question);
    for (const answer of turn.answers) {
      parts.push(`## ${answer.model}`, shownReply(answer)?.text ?? "");
    }
  }
  return `${parts.join("\n\n")}\n`;
}

// --- what is said about a reply --------------------------------------------------------------

export interface Figures {
  /** Seconds to the first text. */
  firstToken?: number | undefined;
  /** Pace since the first text: tokens where the back end counts them, else pieces. */
  rate?: { value: number; unit: "tokens/s" | "pieces/s"; estimated: boolean } | undefined;
  tokens?: { value: number; estimated: boolean } | undefined;
}

export function figures(reply: Reply): Figures {
  const { first, last } = reply;
  const guessed = warnings(reply).some((warning) => warning.code === "usage_estimated");
  const usage = reply.usage && { ...reply.usage, estimated: reply.usage.estimated || guessed };
  const tokens = usage && { value: usage.completion_tokens, estimated: usage.estimated };
  if (first === undefined || last === undefined) return { tokens };
  const took = (last - first) / 1000;
  // The first one starts the clock, so it is not part of the pace.
  const count = (usage?.completion_tokens ?? reply.pieces) - 1;
  const rate =
    took > 0.05 && count > 0
      ? {
          value: count / took,
          unit: usage ? ("tokens/s" as const) : ("pieces/s" as const),
          estimated: usage?.estimated ?? false,
        }
      : undefined;
  return { firstToken: first / 1000, rate, tokens };
}

/** All that was said about the reply: in headers, and in the stream. */
export function warnings(reply: Reply): readonly Warning[] {
  // A conversation of an earlier version of this page has neither.
  return [...(reply.route?.warnings ?? []), ...(reply.warnings ?? [])];
}

/** How the reply ended, in words. */
export function ending(reply: Reply): string {
  if (reply.state === "stopped") return "stopped";
  if (reply.state === "failed") return reply.text ? "broken off" : "failed";
  if (reply.state === "running") return "";
  switch (reply.finish) {
    case undefined:
    case "stop":
      return "finished";
    case "length":
      return "cut at the length limit";
    case "content_filter":
      return "cut by the content filter";
    case "tool_calls":
    case "function_call":
      return "ended with a tool call";
    default:
      return `ended: ${reply.finish}`;
  }
}
