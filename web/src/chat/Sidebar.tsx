/** The conversations of this browser. */
import { useState } from "preact/hooks";

import { go, hashOf } from "../route";
import { Icon, IconButton } from "../ui/Icon";
import { beginNew, sidebarOpen } from "./navigation";
import { current, remove, rename, summaries } from "./session";
import type { Summary } from "./storage";

export function Sidebar() {
  const groups = byAge(summaries.value, Date.now());
  return (
    <>
      {sidebarOpen.value && (
        <div class="veil" onClick={() => (sidebarOpen.value = false)} aria-hidden="true" />
      )}
      <aside class={sidebarOpen.value ? "sidebar open" : "sidebar"} aria-label="Conversations">
        <button type="button" class="new" onClick={beginNew}>
          <Icon name="plus" /> New conversation
        </button>
        <div class="list">
          {groups.map(([name, members]) => (
            <section key={name} aria-label={name}>
              <h2>{name}</h2>
              <ul>
                {members.map((summary) => (
                  <Entry key={summary.id} summary={summary} />
                ))}
              </ul>
            </section>
          ))}
          {groups.length === 0 && <p class="quiet">Your conversations will be listed here.</p>}
        </div>
      </aside>
    </>
  );
}

function Entry({ summary }: { summary: Summary }) {
  const [naming, setNaming] = useState(false);
  const open = current.value.id === summary.id;
  const title = summary.title || "Untitled";
  if (naming) {
    return <NameField summary={summary} onDone={() => setNaming(false)} />;
  }
  return (
    <li class={open ? "entry open" : "entry"}>
      <a
        href={hashOf({ page: "chat", conversation: summary.id })}
        aria-current={open ? "true" : undefined}
        title={title}
        onClick={() => (sidebarOpen.value = false)}
      >
        {title}
      </a>
      <IconButton icon="edit" label={`Rename: ${title}`} onClick={() => setNaming(true)} />
      <IconButton
        icon="trash"
        label={`Delete: ${title}`}
        onClick={() => {
          void remove(summary.id);
          if (open) go({ page: "chat" });
        }}
      />
    </li>
  );
}

function NameField({ summary, onDone }: { summary: Summary; onDone: () => void }) {
  const [name, setName] = useState(summary.title);
  const finish = () => {
    void rename(summary.id, name);
    onDone();
  };
  return (
    <li class="entry">
      <input
        aria-label="Name of the conversation"
        value={name}
        ref={(field) => field?.focus()}
        onInput={(event) => setName(event.currentTarget.value)}
        onBlur={finish}
        onKeyDown={(event) => {
          if (event.key === "Enter") finish();
          if (event.key === "Escape") {
            event.stopPropagation();
            onDone();
          }
        }}
      />
    </li>
  );
}

/** Newest first, under the names of their ages; empty groups are left out. */
export function byAge(all: readonly Summary[], now: number): [string, Summary[]][] {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const day = 86_400_000;
  const groups: [string, Summary[]][] = [
    ["Today", all.filter((s) => s.updated >= midnight)],
    ["Last seven days", all.filter((s) => s.updated < midnight && s.updated >= midnight - 7 * day)],
    ["Earlier", all.filter((s) => s.updated < midnight - 7 * day)],
  ];
  return groups.filter(([, members]) => members.length > 0);
}
