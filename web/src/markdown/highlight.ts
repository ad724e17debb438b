/** Colours for code, by classes. The library is fetched when the first code appears. */
import { signal } from "@preact/signals";

type Library = (typeof import("highlight.js/lib/common"))["default"];

const library = signal<Library | undefined>(undefined);
/** Changes when colours become available: what was drawn without them is drawn again. */
export const coloured = signal(false);
/** Longer code stays plain: colours are not worth a page that stops. */
const LONGEST = 40_000;

let asked = false;

/** HTML with classes, or nothing where the language is unknown or the library not yet here. */
export function highlight(code: string, language: string): string | undefined {
  if (!language || code.length > LONGEST) return undefined;
  if (!asked) {
    asked = true;
    void fetchLibrary();
  }
  const known = library.peek();
  if (!known?.getLanguage(language)) return undefined;
  return known.highlight(code, { language, ignoreIllegals: true }).value;
}

async function fetchLibrary(): Promise<void> {
  const { default: found } = await import("highlight.js/lib/common");
  library.value = found;
  coloured.value = true;
}
