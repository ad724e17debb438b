import { expect, test } from "vitest";

import { eventsOf, waitingOf, waitingWords, warningOf, warningWords } from "../src/gateway/answer";

const event = (value: unknown) => eventsOf({ kind: "data", text: JSON.stringify(value) });

test.each([
  ["waiting queue position=3 size=10", "In the queue: place 3 of 10"],
  ["waiting queue position=0", "In the queue: place 0"],
  ["waiting queue", "In the queue"],
  ["waiting cold_start", "The model is starting"],
  ['waiting loading detail="weights, \\"part 2\\" of 4"', 'Loading: weights, "part 2" of 4'],
  ["waiting loading", "The model is loading"],
  ['waiting running detail="plugin: search"', "At work: plugin: search"],
  ["waiting running", "At work"],
  ["waiting tea_time", "Waiting: tea time"],
])("%s", (comment, words) => {
  const waiting = waitingOf(comment);
  expect(waiting && waitingWords(waiting)).toBe(words);
});

test("other comments say nothing", () => {
  expect(waitingOf("keep-alive")).toBeUndefined();
  expect(eventsOf({ kind: "comment", text: "keep-alive" })).toEqual([]);
});

test("white space of a piece is kept, the empty first delta is none", () => {
  expect(event({ choices: [{ delta: { role: "assistant", content: "" } }] })).toEqual([]);
  expect(event({ choices: [{ delta: { content: " \n" } }] })).toEqual([
    { type: "text", text: " \n" },
  ]);
});

test("finish, usage, reasoning and the end", () => {
  expect(event({ choices: [{ delta: {}, finish_reason: "length" }], usage: null })).toEqual([
    { type: "finish", reason: "length" },
  ]);
  expect(event({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } })).toEqual([
    { type: "usage", usage: { prompt_tokens: 1, completion_tokens: 2, estimated: false } },
  ]);
  expect(event({ choices: [{ delta: { reasoning: "so" } }] })).toEqual([
    { type: "reasoning", text: "so" },
  ]);
  expect(eventsOf({ kind: "data", text: "[DONE]" })).toEqual([{ type: "done" }]);
});

test("an error inside the stream is a failure with its words", () => {
  const [failed] = event({ error: { message: "CUDA out of memory", code: "model" } });
  expect(failed).toMatchObject({ failure: { code: "model", message: "CUDA out of memory" } });
  expect(event({ error: "plain words" })[0]).toMatchObject({
    failure: { code: "server", message: "plain words" },
  });
});

test("what is no JSON, or JSON of another kind, breaks nothing", () => {
  expect(eventsOf({ kind: "data", text: "{" })[0]).toMatchObject({ type: "failure" });
  for (const odd of [null, 1, "x", [], {}, { choices: null }, { choices: [null] }]) {
    expect(event(odd)).toEqual([]);
  }
});

test.each([
  ["warning history_lost the thread is gone", "The server has lost the earlier turns"],
  ["warning parameter_dropped temperature was not obeyed", "Not obeyed: temperature was not"],
  ["warning odd_thing happened", "odd thing: happened"],
])("%s", (comment, words) => {
  const [event] = eventsOf({ kind: "comment", text: comment });
  expect(event?.type).toBe("warning");
  expect(event?.type === "warning" && warningWords(event.warning)).toContain(words);
});

test("an estimate is no note of its own, and the header has no first word", () => {
  expect(warningWords({ code: "usage_estimated", detail: "" })).toBeUndefined();
  expect(warningOf("parameter_dropped seed")).toEqual({ code: "parameter_dropped", detail: "seed" });
  expect(warningOf("")).toBeUndefined();
});
