/** The frame of the page: tabs, theme, key, help, notices. */
import { signal } from "@preact/signals";
import { lazy, Suspense } from "preact/compat";
import { useEffect } from "preact/hooks";

import { ChatPage } from "./chat/ChatPage";
import { beginNew, focusComposer, sidebarOpen, toggleSidebar } from "./chat/navigation";
import { current, open, running, startNew, stop } from "./chat/session";
import { key, keyWanted } from "./gateway/calls";
import { hashOf, route, settleAt } from "./route";
import { dark, toggleTheme } from "./theme";
import { HelpDialog } from "./ui/HelpDialog";
import { IconButton } from "./ui/Icon";
import { KeyDialog } from "./ui/KeyDialog";
import { announced, dismiss, shownToast, toast } from "./ui/notices";

const helpOpen = signal(false);

// Those who only chat do not fetch the plots.
const StatusPage = lazy(() => import("./status/StatusPage").then((module) => module.StatusPage));

export function App() {
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  useEffect(followRoute, [route.value]);
  useEffect(nameTab);
  const chatting = route.value.page === "chat";
  return (
    <div class="app">
      <Header />
      <main id="main" tabIndex={-1}>
        <Suspense fallback={null}>{chatting ? <ChatPage /> : <StatusPage />}</Suspense>
      </main>
      {keyWanted.value && <KeyDialog />}
      {helpOpen.value && <HelpDialog onClose={() => (helpOpen.value = false)} />}
      <ToastView />
      <div class="visually-hidden" role="status" aria-live="polite">
        {announced}
      </div>
    </div>
  );
}

function Header() {
  const { page } = route.value;
  const { id, turns } = current.value;
  const chat = hashOf(turns.length ? { page: "chat", conversation: id } : { page: "chat" });
  return (
    <header class="top">
      {page === "chat" && (
        <IconButton
          icon="menu"
          label="Conversations"
          onClick={toggleSidebar}
        />
      )}
      <span class="brand">Penstock</span>
      <nav aria-label="Pages">
        <a href={chat} aria-current={page === "chat" ? "page" : undefined}>
          Chat
        </a>
        <a href={hashOf({ page: "status" })} aria-current={page === "status" ? "page" : undefined}>
          Status
        </a>
      </nav>
      <span class="spring" />
      {key.value && (
        <IconButton icon="key" label="Change the key" onClick={() => (keyWanted.value = true)} />
      )}
      <IconButton
        icon={dark.value ? "sun" : "moon"}
        label={dark.value ? "Use light colours" : "Use dark colours"}
        onClick={toggleTheme}
      />
      <IconButton icon="help" label="Help" onClick={() => (helpOpen.value = true)} />
    </header>
  );
}

function ToastView() {
  const shown = shownToast.value;
  return (
    <div class="toast-place" role="status" aria-live="polite">
      {shown && (
        <div class="toast">
          <span>{shown.text}</span>
          {shown.action && (
            <button
              type="button"
              onClick={() => {
                dismiss();
                shown.act?.();
              }}
            >
              {shown.action}
            </button>
          )}
        </div>
      )}
    </div>
  );
}

function nameTab(): void {
  const { title } = current.value;
  const page = route.value.page === "status" ? "Status" : title;
  document.title = page ? `${page} · Penstock` : "Penstock";
}

/** A conversation named by the address is opened; none, or an unknown one, means a new one. */
function followRoute(): void {
  const { value } = route;
  if (value.page !== "chat") return;
  if (!value.conversation) {
    if (current.value.turns.length) startNew();
    return;
  }
  void open(value.conversation).then((found) => {
    if (found) return;
    toast("This browser has no such conversation.");
    startNew();
    settleAt({ page: "chat" });
  });
}

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && sidebarOpen.value) {
    event.preventDefault();
    sidebarOpen.value = false;
  } else if (event.key === "Escape" && running.value) {
    event.preventDefault();
    stop();
  } else if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    beginNew();
  } else if (!isTyping(event) && event.key === "/") {
    event.preventDefault();
    focusComposer();
  } else if (!isTyping(event) && event.key === "?") {
    event.preventDefault();
    helpOpen.value = true;
  }
}

function isTyping(event: KeyboardEvent): boolean {
  const { target } = event;
  return target instanceof HTMLElement && target.matches("input, textarea, select");
}
