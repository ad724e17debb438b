/** Moves between conversations, and where the cursor is after them. */
import { signal } from "@preact/signals";

import { settleAt } from "../route";
import { current, startNew } from "./session";

/** The list as a drawer, on a narrow screen. */
export const sidebarOpen = signal(false);
/** The list put away, on a wide one. */
export const sidebarAway = signal(false);

export function toggleSidebar(): void {
  // The same width as in chat.css.
  if (matchMedia("(max-width: 760px)").matches) sidebarOpen.value = !sidebarOpen.value;
  else sidebarAway.value = !sidebarAway.value;
}

/** The turn whose question is being edited. */
export const editing = signal<string | undefined>(undefined);

export const composerId = "composer";

export function focusComposer(): void {
  document.getElementById(composerId)?.focus();
}

export function beginNew(): void {
  if (current.value.turns.length) startNew();
  sidebarOpen.value = false;
  settleAt({ page: "chat" });
  focusComposer();
}
