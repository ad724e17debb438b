/** Where questions are written: models, settings, the field, send and stop. */
import { signal, useSignal } from "@preact/signals";

import { settleAt } from "../route";
import { models } from "../gateway/models";
import { Icon, IconButton } from "../ui/Icon";
import { Field } from "./Field";
import { ModelBar } from "./ModelPicker";
import { composerId, editing } from "./navigation";
import { adjust, chosen, current, running, send, stop } from "./session";

const draft = signal("");

export function Composer() {
  const settings = useSignal(false);
  const ready = draft.value.trim() !== "" && chosen.value.length > 0 && !running.value;
  const submit = () => {
    if (!ready) return;
    const text = draft.value;
    draft.value = "";
    send(text);
    settleAt({ page: "chat", conversation: current.value.id });
  };
  return (
    <form
      class="composer"
      aria-label="Your question"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {settings.value && <SettingsFields />}
      <div class="box">
        <Field
          id={composerId}
          label="Your question"
          placeholder={models.value.length ? "Ask anything" : "No model to ask yet"}
          value={draft.value}
          onInput={(value) => (draft.value = value)}
          onSend={submit}
          onUp={() => (editing.value = current.value.turns.at(-1)?.id)}
          focus={matchMedia("(pointer: fine)").matches}
        />
        <div class="row">
          <ModelBar />
          <span class="spring" />
          <IconButton
            icon="sliders"
            label="Instructions and settings"
            pressed={settings.value}
            onClick={() => (settings.value = !settings.value)}
          />
          {running.value ? (
            <button type="button" class="send" aria-label="Stop all answers" onClick={() => stop()}>
              <Icon name="stop" />
            </button>
          ) : (
            <button type="submit" class="send" aria-label="Send" disabled={!ready}>
              <Icon name="send" />
            </button>
          )}
        </div>
      </div>
    </form>
  );
}

function SettingsFields() {
  const { instructions, temperature, maxTokens } = current.value;
  return (
    <fieldset class="settings">
      <legend class="visually-hidden">Instructions and settings</legend>
      <label class="field">
        Instructions for the model
        <textarea
          rows={2}
          value={instructions}
          placeholder="None"
          onInput={(event) =>
            adjust({ instructions: event.currentTarget.value, temperature, maxTokens })
          }
        />
      </label>
      <label class="field">
        Temperature
        <input
          type="number"
          min="0"
          max="2"
          step="0.1"
          placeholder="the model's own"
          value={temperature ?? ""}
          onInput={(event) =>
            adjust({ instructions, temperature: number(event.currentTarget), maxTokens })
          }
        />
      </label>
      <label class="field">
        Longest answer, in tokens
        <input
          type="number"
          min="1"
          step="1"
          placeholder="no limit"
          value={maxTokens ?? ""}
          onInput={(event) =>
            adjust({ instructions, temperature, maxTokens: number(event.currentTarget) })
          }
        />
      </label>
    </fieldset>
  );
}

function number(field: HTMLInputElement): number | undefined {
  return Number.isNaN(field.valueAsNumber) ? undefined : field.valueAsNumber;
}
