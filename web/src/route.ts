/** Where the user is, kept behind the `#` so that the page works below any path. */
import { signal } from "@preact/signals";

export type Route = { page: "chat"; conversation?: string } | { page: "status" };

export const route = signal<Route>(read());

addEventListener("hashchange", () => (route.value = read()));

export function go(to: Route): void {
  const hash = hashOf(to);
  if (location.hash !== hash) location.hash = hash;
  else route.value = to;
}

/** Name the place without a step in the browser's history. */
export function settleAt(to: Route): void {
  history.replaceState(null, "", hashOf(to));
  route.value = to;
}

export function hashOf(to: Route): string {
  if (to.page === "status") return "#/status";
  return to.conversation ? `#/c/${to.conversation}` : "#/";
}

function read(): Route {
  const [, page, id] = location.hash.split("/");
  if (page === "status") return { page };
  return page === "c" && id ? { page: "chat", conversation: id } : { page: "chat" };
}
