import { expect, test } from "vitest";

import * as series from "../src/status/series";

test("the last point is at the end", () => {
  const made = { step: 10, end: 100, requests: [0, 1, 2], errors: [], first_token_ms: [], tokens_per_s: [] };
  expect(series.instants(made)).toEqual([80, 90, 100]);
});

test("the median leaves out where nothing happened", () => {
  expect(series.median([null, 3, null, 1, 2])).toBe(2);
  expect(series.median([4, null, 2])).toBe(3);
  expect(series.median([null])).toBeUndefined();
});

test.each([
  [12.7, "12 s"],
  [61, "1 min"],
  [7500, "2 h 5 min"],
  [200_000, "2 days"],
])("%d s is %s", (seconds, words) => {
  expect(series.duration(seconds)).toBe(words);
});

test("numbers are short where there is little room", () => {
  expect([850, 1302, 2_000_000].map(series.short)).toEqual(["850", "1.3K", "2M"]);
  expect([0, 1, 2441].map((n) => series.counted(n, "request"))).toEqual([
    "0 requests",
    "1 request",
    "2,441 requests",
  ]);
});
