/** Choosing up to four models: chips of the chosen ones, and a list to search. */
import { signal, useSignal } from "@preact/signals";

import { grouped, models, shortName } from "../gateway/models";
import { Icon, IconButton } from "../ui/Icon";
import { Dialog } from "../ui/Dialog";
import { MAX_MODELS } from "./conversation";
import { choose, chosen } from "./session";

const open = signal(false);

/** The chosen models, each with a way to drop it, and the way to the list. */
export function ModelBar() {
  const many = chosen.value.length > 1;
  return (
    <div class="models" role="group" aria-label="Models">
      {chosen.value.map((model) => (
        <span class="chip" key={model} title={model}>
          <button type="button" class="name" onClick={() => (open.value = true)}>
            {shortName(model)}
          </button>
          {many && (
            <IconButton
              icon="close"
              label={`Remove ${model}`}
              onClick={() => choose(chosen.value.filter((other) => other !== model))}
            />
          )}
        </span>
      ))}
      <button type="button" class="add" onClick={() => (open.value = true)}>
        <Icon name="plus" />
        {chosen.value.length === 0
          ? "Choose a model"
          : chosen.value.length < MAX_MODELS
            ? "Compare"
            : "Models"}
      </button>
      {open.value && (
        <Dialog title="Models" onClose={() => (open.value = false)}>
          <ModelPicker focus />
          <div class="dialog-actions">
            <button type="button" class="primary" onClick={() => (open.value = false)}>
              Done
            </button>
          </div>
        </Dialog>
      )}
    </div>
  );
}

export function ModelPicker({ focus = false }: { focus?: boolean }) {
  const wanted = useSignal("");
  const text = wanted.value.trim().toLowerCase();
  const all = [...new Set([...models.value, ...chosen.value])];
  const fitting = all.filter((model) => model.toLowerCase().includes(text));
  const other = wanted.value.trim();
  const unlisted = other.includes("/") && !all.includes(other);
  return (
    <div class="picker">
      <input
        type="search"
        autofocus={focus}
        aria-label="Search models"
        placeholder={`Search ${models.value.length} models`}
        value={wanted.value}
        onInput={(event) => (wanted.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter") return;
          event.preventDefault();
          const [only] = unlisted ? [other] : fitting;
          if (only) toggle(only);
        }}
      />
      <p class="quiet" aria-live="polite">
        {chosen.value.length} of {MAX_MODELS} chosen
      </p>
      <div class="options">
        {grouped(fitting).map(([group, members]) => (
          <fieldset key={group}>
            <legend>{group}</legend>
            {members.map((model) => (
              <Option key={model} model={model} name={shortName(model)} />
            ))}
          </fieldset>
        ))}
        {unlisted && <Option model={other} name={`Use ${other}`} />}
        {fitting.length === 0 && !unlisted && (
          <p class="quiet">No model of this name. A full name, provider/model, works, too.</p>
        )}
      </div>
    </div>
  );
}

function Option({ model, name }: { model: string; name: string }) {
  const picked = chosen.value.includes(model);
  const full = !picked && chosen.value.length >= MAX_MODELS;
  return (
    <label class={full ? "option full" : "option"}>
      <input type="checkbox" checked={picked} disabled={full} onChange={() => toggle(model)} />
      <span class="box-mark" aria-hidden="true">
        <Icon name="check" />
      </span>
      <span>{name}</span>
    </label>
  );
}

function toggle(model: string): void {
  const { value } = chosen;
  if (value.includes(model)) choose(value.filter((other) => other !== model));
  else if (value.length < MAX_MODELS) choose([...value, model]);
}
