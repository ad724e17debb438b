import { expect, test } from "vitest";

import { EventStreamDecoder, type Frame } from "../src/gateway/sse";

const STREAM =
  "\uFEFF: waiting queue position=3 size=10\n\ndata: {\"a\":1}\r\n\r\n:keep-alive\rdata:two\ndata:  lines\n\n" +
  "event: error\ndata\n\n\n\nid: 7\r\ndata: Zürich 👨‍👩‍👧\u2028\u0085 end\r\rdata: [DONE]\n\n";

const FRAMES: Frame[] = [
  { kind: "comment", text: "waiting queue position=3 size=10" },
  { kind: "data", text: '{"a":1}' },
  { kind: "comment", text: "keep-alive" },
  { kind: "data", text: "two\n lines" },
  { kind: "data", text: "" },
  { kind: "data", text: "Zürich 👨‍👩‍👧\u2028\u0085 end" },
  { kind: "data", text: "[DONE]" },
];

function read(...pieces: string[]): Frame[] {
  const decoder = new EventStreamDecoder();
  return pieces.flatMap((piece) => decoder.feed(piece));
}

test("a stream cut at every place gives the same frames", () => {
  expect(read(STREAM)).toEqual(FRAMES);
  for (let at = 0; at <= STREAM.length; at++) {
    expect(read(STREAM.slice(0, at), STREAM.slice(at))).toEqual(FRAMES);
  }
  expect(read(...STREAM.split(""))).toEqual(FRAMES);
});

test("what is not ended by a blank line is no event", () => {
  expect(read("data: half")).toEqual([]);
  expect(read("data: half\n")).toEqual([]);
});
