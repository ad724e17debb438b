/** Short words to the user: a toast that is seen, an announcement that is heard. */
import { signal } from "@preact/signals";

export interface Toast {
  text: string;
  action?: string | undefined;
  act?: (() => void) | undefined;
}

export const shownToast = signal<Toast | undefined>(undefined);
export const announced = signal("");

let timer: ReturnType<typeof setTimeout> | undefined;

export function toast(text: string, action?: string, act?: () => void): void {
  clearTimeout(timer);
  shownToast.value = { text, action, act };
  timer = setTimeout(() => (shownToast.value = undefined), action ? 10_000 : 4_000);
}

export function dismiss(): void {
  shownToast.value = undefined;
}

/** Said by screen readers; nothing is shown. */
export function announce(text: string): void {
  announced.value = text;
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    // Browsers give the clipboard to secure origins only; a gateway in a local network is none.
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else if (!copySelected(text)) throw new Error("refused");
    toast(`${what} copied.`);
  } catch {
    toast("This browser does not let the page copy.");
  }
}

function copySelected(text: string): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "off-screen";
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}
