/** One question and its answers. */
import { memo } from "preact/compat";
import { useState } from "preact/hooks";

import { IconButton } from "../ui/Icon";
import { copy } from "../ui/notices";
import { AnswerView } from "./AnswerView";
import type { Turn } from "./conversation";
import { Field } from "./Field";
import { editing } from "./navigation";
import { edit } from "./session";

export const TurnView = memo(function TurnView(props: { turn: Turn; editing: boolean }) {
  const { turn } = props;
  const count = turn.answers.length;
  return (
    <article class="turn" aria-label={`Question: ${turn.question.slice(0, 80)}`}>
      {props.editing ? <EditField turn={turn} /> : <QuestionView turn={turn} />}
      <div class={`answers of-${count}`} tabIndex={count > 1 ? 0 : -1}>
        {turn.answers.map((answer) => (
          <AnswerView key={answer.model} turnId={turn.id} answer={answer} alone={count === 1} />
        ))}
      </div>
    </article>
  );
});

function QuestionView({ turn }: { turn: Turn }) {
  return (
    <div class="question">
      <div class="bubble" dir="auto">
        {turn.question}
      </div>
      <div class="tools">
        <IconButton
          icon="copy"
          label="Copy the question"
          onClick={() => void copy(turn.question, "Question")}
        />
        <IconButton
          icon="edit"
          label="Edit the question"
          onClick={() => (editing.value = turn.id)}
        />
      </div>
    </div>
  );
}

function EditField({ turn }: { turn: Turn }) {
  const [text, setText] = useState(turn.question);
  const leave = () => (editing.value = undefined);
  const send = () => {
    if (!text.trim()) return;
    leave();
    edit(turn.id, text);
  };
  return (
    <div class="edit-question">
      <Field
        label="Edit the question"
        value={text}
        onInput={setText}
        onSend={send}
        onEscape={leave}
        focus
      />
      <div class="dialog-actions">
        <button type="button" class="plain" onClick={leave}>
          Cancel
        </button>
        <button type="button" class="primary" disabled={!text.trim()} onClick={send}>
          Ask this instead
        </button>
      </div>
    </div>
  );
}
