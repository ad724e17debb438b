/** Asks for the gateway's key; it stays in this tab and goes with it. */
import { useState } from "preact/hooks";

import { refresh } from "../chat/session";
import { key, keyWanted, setKey } from "../gateway/calls";
import { loadModels } from "../gateway/models";
import { Dialog } from "./Dialog";

export function KeyDialog() {
  const [value, setValue] = useState("");
  const use = (chosen: string) => {
    setKey(chosen);
    void loadModels();
    void refresh();
  };
  return (
    <Dialog title="Key of this gateway" onClose={() => (keyWanted.value = false)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (value.trim()) use(value);
        }}
      >
        <p>
          {key.value
            ? "The gateway does not know the key in use, or you want another one."
            : "This gateway answers only those who have a key."}{" "}
          It is kept in this tab only, and forgotten when you close it.
        </p>
        <label class="field">
          Key
          <input
            type="password"
            autofocus
            autocomplete="off"
            spellcheck={false}
            value={value}
            onInput={(event) => setValue(event.currentTarget.value)}
          />
        </label>
        <div class="dialog-actions">
          {key.value && (
            <button type="button" class="plain" onClick={() => use("")}>
              Forget the key
            </button>
          )}
          <button type="submit" class="primary" disabled={!value.trim()}>
            Use this key
          </button>
        </div>
      </form>
    </Dialog>
  );
}
