/** Moves between conversations, and where the cursor is after them. */
import { signal } from "@preact/signals";

import { settleAt } from "../route";
import { current, startNew } from "./session";

export const sidebarOpen = signal(false);
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
