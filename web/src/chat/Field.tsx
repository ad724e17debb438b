/** A text field that grows with its text; Enter sends, Shift + Enter breaks the line. */
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

export function Field(props: {
  label: string;
  value: string;
  onInput: (value: string) => void;
  onSend: () => void;
  onEscape?: () => void;
  onUp?: () => void;
  id?: string;
  placeholder?: string;
  focus?: boolean;
}) {
  const place = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const field = place.current;
    if (!field) return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
  }, [props.value]);
  useEffect(() => {
    if (!props.focus) return;
    place.current?.focus();
    place.current?.setSelectionRange(props.value.length, props.value.length);
  }, []);
  return (
    <textarea
      ref={place}
      {...(props.id ? { id: props.id } : {})}
      aria-label={props.label}
      placeholder={props.placeholder ?? ""}
      rows={1}
      dir="auto"
      value={props.value}
      onInput={(event) => props.onInput(event.currentTarget.value)}
      onKeyDown={(event) => {
        // An input method uses Enter to take a word over.
        if (event.isComposing) return;
        if (event.key === "Enter" && !event.shiftKey) {
          event.preventDefault();
          props.onSend();
        } else if (event.key === "Escape" && props.onEscape) {
          event.preventDefault();
          props.onEscape();
        } else if (event.key === "ArrowUp" && props.value === "" && props.onUp) {
          event.preventDefault();
          props.onUp();
        }
      }}
    />
  );
}
