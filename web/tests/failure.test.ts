import { expect, test } from "vitest";

import { failureOf, sentence } from "../src/gateway/failure";

test("the seconds to wait are in the sentence", () => {
  const failure = failureOf({ code: "rate_limit_exceeded", message: "slow" }, 429, 12);
  expect(sentence(failure, "h2o/falcon")).toBe(
    "h2o/falcon takes no more requests right now. Try again in 12 s.",
  );
  expect(sentence({ ...failure, retryAfter: 240 }, "m")).toContain("in 4 minutes");
  expect(sentence({ ...failure, retryAfter: undefined }, "m")).toContain("in a moment");
});

test("a body that is no error of ours is judged by its status", () => {
  expect(failureOf(undefined, 504).code).toBe("timeout");
  expect(failureOf("<html>", 503)).toMatchObject({ code: "overloaded", message: "<html>" });
  expect(failureOf({ code: null, type: "server_error", message: "m" }, 504).code).toBe("timeout");
  expect(failureOf({ code: 42 }, 500).code).toBe("server");
});

test("a refused field is named", () => {
  const failure = failureOf({ type: "invalid_request_error", param: "temperature" }, 400);
  expect(sentence(failure, "m")).toBe("m does not accept the value of temperature.");
});

test("a word nobody knows is judged by the status, too", () => {
  const failure = failureOf({ code: "model_not_allowed", message: "no" }, 403);
  expect(sentence(failure, "m")).toBe("This key may not use m.");
  expect(sentence(failureOf({ code: "odd" }, 500), "m")).toContain("The server of m failed.");
});
