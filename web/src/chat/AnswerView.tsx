/** One model's answer: its text as it grows, what it waits for, how fast it was, how it ended. */
import { useSignal } from "@preact/signals";
import { memo } from "preact/compat";
import { useEffect } from "preact/hooks";
import type { ComponentChildren } from "preact";

import { waitingWords, warningWords } from "../gateway/answer";
import { sentence, worthRetrying } from "../gateway/failure";
import { shortName } from "../gateway/models";
import { Markdown } from "../markdown/Markdown";
import { duration } from "../status/series";
import { Icon, IconButton } from "../ui/Icon";
import { copy } from "../ui/notices";
import { ending, figures, shownReply, warnings, type Answer, type Reply } from "./conversation";
import { current, retry, show, stop } from "./session";

export const AnswerView = memo(function AnswerView(props: {
  turnId: string;
  answer: Answer;
  alone: boolean;
}) {
  const { turnId, answer, alone } = props;
  const reply = shownReply(answer);
  if (!reply) return null;
  const { model } = answer;
  const name = shortName(model);
  const busy = reply.state === "running";
  return (
    <section
      class={alone ? "answer alone" : "answer"}
      aria-label={`Answer of ${model}`}
      aria-busy={busy}
      data-state={reply.state}
    >
      <h2 class="answer-model" title={model}>
        <span class="provider">{model.slice(0, model.length - name.length)}</span>
        {name}
      </h2>
      <Waiting reply={reply} />
      <Thinking reply={reply} />
      <Markdown text={reply.text} />
      <Problem
        reply={reply}
        model={model}
        last={answer.shown === answer.versions.length - 1}
        onRetry={() => retry(turnId, model)}
      />
      <Notes reply={reply} />
      <footer>
        <FiguresLine reply={reply} />
        <Tools turnId={turnId} answer={answer} reply={reply} />
      </footer>
    </section>
  );
});

function Tools(props: { turnId: string; answer: Answer; reply: Reply }) {
  const { turnId, answer, reply } = props;
  const { model } = answer;
  if (reply.state === "running") {
    return (
      <div class="tools lasting">
        <IconButton
          icon="stop"
          label={`Stop ${model}`}
          onClick={() => stop(current.value.id, turnId, model)}
        />
      </div>
    );
  }
  return (
    <div class="tools">
      <Versions turnId={turnId} answer={answer} />
      {reply.text && (
        <IconButton
          icon="copy"
          label={`Copy the answer of ${model}`}
          onClick={() => void copy(reply.text, "Answer")}
        />
      )}
      <IconButton
        icon="retry"
        label={`Ask ${model} again`}
        disabled={answer.versions.at(-1)?.state === "running"}
        onClick={() => retry(turnId, model)}
      />
    </div>
  );
}

function Versions({ turnId, answer }: { turnId: string; answer: Answer }) {
  const { shown, versions, model } = answer;
  if (versions.length < 2) return null;
  return (
    <span class="versions">
      <IconButton
        icon="left"
        label="Earlier answer"
        disabled={shown === 0}
        onClick={() => show(turnId, model, shown - 1)}
      />
      {shown + 1}/{versions.length}
      <IconButton
        icon="right"
        label="Later answer"
        disabled={shown === versions.length - 1}
        onClick={() => show(turnId, model, shown + 1)}
      />
    </span>
  );
}

function Waiting({ reply }: { reply: Reply }) {
  if (reply.state !== "running" || reply.text) return null;
  const words = reply.waiting ? waitingWords(reply.waiting) : reply.reasoning ? "Thinking" : "";
  return (
    <p class="waiting" role="status">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {words || <span class="visually-hidden">Waiting for the first word</span>}
      <Elapsed since={reply.asked} />
    </p>
  );
}

/** How long it has been, once that is worth knowing; not read aloud every second. */
function Elapsed({ since }: { since: number }) {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.floor((now.value - since) / 1000);
  return seconds < 3 ? null : (
    <span class="elapsed" aria-hidden="true">
      {duration(seconds)}
    </span>
  );
}

function Thinking({ reply }: { reply: Reply }) {
  if (!reply.reasoning) return null;
  return (
    <details class="thinking">
      <summary>What the model thought</summary>
      <div class="thought">{reply.reasoning}</div>
    </details>
  );
}

function Problem(props: {
  reply: Reply;
  model: string;
  /** No later version of this answer exists. */
  last: boolean;
  onRetry: () => void;
}): ComponentChildren {
  const { model } = props;
  const { failure } = props.reply;
  if (!failure) return null;
  return (
    <div class="failure" role="alert">
      <p>
        <Icon name="warn" />
        <span>{sentence(failure, model)}</span>
      </p>
      {failure.message && <p class="quiet">It said: {failure.message}</p>}
      {props.last && worthRetrying(failure) && (
        <button type="button" class="secondary" onClick={props.onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}

function Notes({ reply }: { reply: Reply }) {
  const notes = warnings(reply).map(warningWords).filter((words) => words !== undefined);
  if (notes.length === 0) return null;
  return (
    <ul class="notes">
      {notes.map((words) => (
        <li key={words}>{words}</li>
      ))}
    </ul>
  );
}

function FiguresLine({ reply }: { reply: Reply }) {
  const { firstToken, rate, tokens } = figures(reply);
  const end = ending(reply);
  const parts = [
    firstToken === undefined ? "" : `first token ${time(firstToken)}`,
    rate ? `${about(rate.estimated)}${pace(rate.value)} ${rate.unit}` : "",
    tokens ? `${about(tokens.estimated)}${tokens.value} tokens` : "",
    end,
  ].filter(Boolean);
  const attempts = reply.route?.attempts ?? 1;
  if (attempts > 1) parts.push(`${attempts} attempts`);
  const facts = [
    reply.route?.target && `answered by ${reply.route.target}`,
    reply.route?.requestId && `request ${reply.route.requestId}`,
  ].filter(Boolean);
  return (
    <p class="figures" title={facts.join("\n")}>
      {parts.map((part) => (
        <span key={part}>{part}</span>
      ))}
    </p>
  );
}

function time(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

function pace(value: number): string {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}

function about(estimated: boolean): string {
  return estimated ? "about " : "";
}
