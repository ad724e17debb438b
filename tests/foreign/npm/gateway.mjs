// The npm package `openai`, used as its own pages show. Prints what it found as JSON.

import OpenAI from "openai";

const place = JSON.parse(process.argv[2]);
const MODEL = "openai_compatible/sandbox-model";
const H2O = "h2o/falcon-40b";
const QUESTION = "naïve café, 日本語 🦜\n two  spaces";
const HOLD = "HOLD the line";
const BREAKS = "FAIL in the middle";
const LEFT_WITHIN = 5000;

const of = (more = {}) =>
  new OpenAI({ baseURL: `${place.url}/v1`, apiKey: "any", maxRetries: 0, ...more });
const asked = (model = MODEL, question = QUESTION, more = {}) => ({
  model,
  messages: [{ role: "user", content: question }],
  ...more,
});

async function refused(call) {
  try {
    return { "not refused": await call() };
  } catch (error) {
    const named = String(error.requestID).startsWith("req_") ? "named" : "nameless";
    return [error.constructor.name, error.status ?? null, error.code ?? null, named];
  }
}

async function underWay(backend) {
  const answer = await fetch(place.states[backend]);
  return (await answer.json()).runs.running;
}

async function until(backend, wanted) {
  const last = Date.now() + LEFT_WITHIN;
  while (((await underWay(backend)) > 0) !== wanted) {
    if (Date.now() > last) return false;
    await new Promise((wake) => setTimeout(wake, 10));
  }
  return true;
}

const tasks = {
  async plain() {
    const said = await of().chat.completions.create(asked());
    const { total_tokens, prompt_tokens, completion_tokens } = said.usage;
    return {
      text: said.choices[0].message.content,
      finish: said.choices[0].finish_reason,
      counted: total_tokens > 0 && total_tokens === prompt_tokens + completion_tokens,
      id: said._request_id.startsWith("req_"),
    };
  },

  async stream() {
    const options = { stream: true, stream_options: { include_usage: true } };
    const made = await of().chat.completions.create(asked(MODEL, QUESTION, options));
    let text = "";
    let usage = null;
    for await (const chunk of made) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage ??= chunk.usage;
    }
    return { text, counted: usage.total_tokens > 0 };
  },

  async helper() {
    const made = of().chat.completions.stream(asked(H2O));
    const pieces = [];
    made.on("content", (piece) => pieces.push(piece));
    const final = await made.finalChatCompletion();
    return { text: pieces.join(""), final: final.choices[0].message.content };
  },

  async responses() {
    const whole = await of().responses.create({ model: MODEL, input: QUESTION });
    const made = of().responses.stream({ model: MODEL, input: QUESTION });
    const kinds = [];
    for await (const event of made) kinds.push(event.type);
    const final = await made.finalResponse();
    return { whole: whole.output_text, final: final.output_text, last: kinds.at(-1) };
  },

  async models() {
    const found = [];
    for await (const model of of().models.list()) found.push(model.id);
    return found.includes(MODEL);
  },

  async refusals() {
    const found = {};
    for (const name of ["wrong", "gone", "odd", "limited", "broken", "full", "locked"])
      found[name] = await refused(() =>
        of().chat.completions.create(asked(`${name}/sandbox-model`)),
      );
    const keyed = of({ baseURL: `${place.keyed}/v1`, apiKey: "wrong" });
    found.key = await refused(() => keyed.chat.completions.create(asked()));
    return found;
  },

  async late() {
    const found = {};
    for (const model of [MODEL, H2O]) {
      let text = "";
      found[model] = await refused(async () => {
        const made = await of().chat.completions.create(asked(model, BREAKS, { stream: true }));
        for await (const chunk of made) text += chunk.choices[0]?.delta.content ?? "";
        return text;
      });
      found[model].push(text !== "");
    }
    return found;
  },

  async abort() {
    const leaving = new AbortController();
    const made = await of().chat.completions.create(asked(H2O, HOLD, { stream: true }), {
      signal: leaving.signal,
    });
    let text = "";
    for await (const chunk of made) {
      text += chunk.choices[0]?.delta.content ?? "";
      if (text.includes("on on")) break;
    }
    const streamed = await until("h2o", false);
    const plain = of().chat.completions.create(asked(MODEL, HOLD), { signal: leaving.signal });
    const told = refused(() => plain);
    const busy = await until("openai", true);
    leaving.abort();
    return { streamed, busy, told: (await told)[0], plain: await until("openai", false) };
  },
};

const found = {};
for (const [name, task] of Object.entries(tasks)) {
  try {
    found[name] = await task();
  } catch (error) {
    found[name] = { failed: error.stack };
  }
}
console.log(JSON.stringify(found));
