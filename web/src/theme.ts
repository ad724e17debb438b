/** Dark and light: the system's choice unless the user made one. */
import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const STORED = "penstock-theme";

export const theme = signal<Theme>(read());

const system = matchMedia("(prefers-color-scheme: dark)");
export const dark = signal(isDark());
system.addEventListener("change", () => (dark.value = isDark()));

effect(() => {
  dark.value = isDark();
  document.documentElement.dataset["theme"] = dark.value ? "dark" : "light";
});

export function toggleTheme(): void {
  theme.value = isDark() ? "light" : "dark";
  try {
    localStorage.setItem(STORED, theme.value);
  } catch {
    // Without storage the choice lasts as long as the tab.
  }
}

function isDark(): boolean {
  return theme.value === "dark" || (theme.value === "system" && system.matches);
}

function read(): Theme {
  try {
    const stored = localStorage.getItem(STORED);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system";
  }
}
