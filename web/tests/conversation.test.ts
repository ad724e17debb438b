import { expect, test } from "vitest";

import * as talk from "../src/chat/conversation";
import type { Conversation, Reply } from "../src/chat/conversation";

function answered(conversation: Conversation, turn: string, model: string, reply: Partial<Reply>) {
  const whole = { ...talk.startReply(0), state: "done" as const, ...reply };
  return talk.changeAnswer(conversation, turn, model, (a) => talk.changeLast(a, whole));
}

function twoTurns(): Conversation {
  let talked = talk.addTurn(talk.startConversation("c", ["a", "b"], 0), "1", "first?", 1);
  talked = answered(talked, "1", "a", { text: "of a" });
  talked = answered(talked, "1", "b", { text: "of b" });
  return talk.addTurn(talked, "2", "second?", 2);
}

test("each model sees its own answers", () => {
  const talked = twoTurns();
  expect(talk.history(talked, "2", "b")).toEqual([
    { role: "user", content: "first?" },
    { role: "assistant", content: "of b" },
    { role: "user", content: "second?" },
  ]);
});

test("a model that was not asked sees the first answer there is", () => {
  const contents = talk.history(twoTurns(), "2", "new").map((message) => message.content);
  expect(contents).toEqual(["first?", "of a", "second?"]);
});

test("a turn without any text is left out, so that roles alternate", () => {
  let talked = answered(twoTurns(), "1", "a", { text: "", state: "failed" });
  talked = answered(talked, "1", "b", { text: "", state: "failed" });
  expect(talk.history(talked, "2", "a")).toEqual([{ role: "user", content: "second?" }]);
});

test("instructions come first, and only if there are some", () => {
  const told = { ...twoTurns(), instructions: "Be brief." };
  expect(talk.history(told, "1", "a")[0]).toEqual({ role: "system", content: "Be brief." });
  expect(talk.history({ ...told, instructions: " " }, "1", "a")[0]?.role).toBe("user");
});

test("asking again keeps the earlier reply, and history follows the shown one", () => {
  let talked = talk.changeAnswer(twoTurns(), "1", "a", (a) => talk.addVersion(a, 3));
  talked = answered(talked, "1", "a", { text: "better" });
  const answer = talked.turns[0]?.answers[0];
  expect(answer?.versions.map((reply) => reply.text)).toEqual(["of a", "better"]);
  expect(talk.history(talked, "2", "a")[1]?.content).toBe("better");
  talked = talk.changeAnswer(talked, "1", "a", (a) => ({ ...a, shown: 0 }));
  expect(talk.history(talked, "2", "a")[1]?.content).toBe("of a");
});

test("what ran when the tab was closed is shown as stopped", () => {
  const talked = twoTurns();
  expect(talk.isRunning(talked)).toBe(true);
  const mended = talk.interrupted(talked);
  expect(talk.isRunning(mended)).toBe(false);
  expect(mended.turns[1]?.answers[0]?.versions[0]?.state).toBe("stopped");
});

test("an unchanged turn stays the same value, so it is not drawn again", () => {
  const talked = twoTurns();
  const changed = answered(talked, "2", "a", { text: "x" });
  expect(changed.turns[0]).toBe(talked.turns[0]);
  expect(changed.turns[1]?.answers[1]).toBe(talked.turns[1]?.answers[1]);
});

test("counted tokens are tokens, pieces are never called so", () => {
  let reply = talk.startReply(0);
  reply = talk.advance(reply, { type: "text", text: "a" }, 500);
  reply = talk.advance(reply, { type: "text", text: "b" }, 1500);
  expect(talk.figures(reply)).toMatchObject({
    firstToken: 0.5,
    rate: { value: 1, unit: "pieces/s" },
    tokens: undefined,
  });
  const usage = { prompt_tokens: 1, completion_tokens: 11, estimated: true };
  expect(talk.figures(talk.advance(reply, { type: "usage", usage }, 1600))).toMatchObject({
    rate: { value: 10, unit: "tokens/s", estimated: true },
    tokens: { value: 11, estimated: true },
  });
});

test.each([
  [{ state: "done", finish: "stop" }, "finished"],
  [{ state: "done", finish: "length" }, "cut at the length limit"],
  [{ state: "done", finish: "content_filter" }, "cut by the content filter"],
  [{ state: "done", finish: "eos" }, "ended: eos"],
  [{ state: "stopped" }, "stopped"],
  [{ state: "failed", text: "half" }, "broken off"],
  [{ state: "failed" }, "failed"],
  [{ state: "running" }, ""],
] as [Partial<Reply>, string][])("%j ends: %s", (reply, words) => {
  expect(talk.ending({ ...talk.startReply(0), ...reply })).toBe(words);
});

test("a title is the first line, not too long", () => {
  expect(talk.titleOf("  one\ntwo")).toBe("one");
  expect(talk.titleOf("x".repeat(80))).toHaveLength(60);
});

test("tokens that the gateway estimated are about so many", () => {
  let reply = talk.startReply(0);
  reply = talk.advance(reply, { type: "usage", usage: { prompt_tokens: 1, completion_tokens: 5, estimated: false } }, 1);
  reply = talk.advance(reply, { type: "warning", warning: { code: "usage_estimated", detail: "" } }, 2);
  expect(talk.figures(reply).tokens).toEqual({ value: 5, estimated: true });
});
