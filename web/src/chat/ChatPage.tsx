import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { models, modelsFailure, modelsLoaded, loadModels } from "../gateway/models";
import { gatewaySentence } from "../gateway/failure";
import { Icon } from "../ui/Icon";
import { copy } from "../ui/notices";
import { Composer } from "./Composer";
import { asMarkdown, MAX_MODELS } from "./conversation";
import { ModelPicker } from "./ModelPicker";
import { editing, sidebarAway } from "./navigation";
import { choose, chosen, current, running } from "./session";
import { Sidebar } from "./Sidebar";
import { TurnView } from "./TurnView";

/** As near to the end as this counts as being at it, in pixels. */
const NEAR = 80;

export function ChatPage() {
  const scroller = useRef<HTMLDivElement>(null);
  const atEnd = useSignal(true);
  const conversation = current.value;
  const { id, turns } = conversation;
  const toEnd = () => {
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  };
  // New text moves the view only for those who were at its end.
  useLayoutEffect(() => {
    if (atEnd.peek()) toEnd();
  }, [conversation]);
  useEffect(() => {
    atEnd.value = true;
    toEnd();
  }, [id, turns.length]);
  useEffect(chooseFirst, [models.value]);
  const wide = Math.max(1, ...turns.map((turn) => turn.answers.length)) > 1;
  return (
    <div class={sidebarAway.value ? "chat bare" : "chat"}>
      <Sidebar />
      <div class="conversation">
        <div
          class="scroller"
          ref={scroller}
          onScroll={({ currentTarget: at }) => {
            atEnd.value = at.scrollHeight - at.scrollTop - at.clientHeight < NEAR;
          }}
        >
          <section class={wide ? "turns wide" : "turns"} aria-label="Conversation">
            {turns.length === 0 ? (
              <Welcome />
            ) : (
              <h1 class="visually-hidden">{conversation.title}</h1>
            )}
            {turns.map((turn) => (
              <TurnView key={turn.id} turn={turn} editing={editing.value === turn.id} />
            ))}
            {turns.length > 0 && !running.value && <Foot />}
          </section>
        </div>
        <div class="dock">
          {!atEnd.value && (
            <button type="button" class="to-end" onClick={toEnd}>
              <Icon name="down" /> Latest
            </button>
          )}
          <Composer />
        </div>
      </div>
    </div>
  );
}

function Foot() {
  return (
    <p class="foot">
      <button
        type="button"
        class="plain"
        onClick={() => void copy(asMarkdown(current.value), "Conversation")}
      >
        Copy the whole conversation
      </button>
    </p>
  );
}

function Welcome() {
  const failure = modelsFailure.value;
  return (
    <div class="welcome">
      <h1>What would you like to ask?</h1>
      <p class="quiet">
        Choose a model, or up to {["none", "one", "two", "three", "four"][MAX_MODELS]} to compare
        their answers.
      </p>
      {failure ? (
        <div class="failure" role="alert">
          <p>{gatewaySentence(failure, "list its models")}</p>
          <button type="button" class="secondary" onClick={() => void loadModels()}>
            Try again
          </button>
        </div>
      ) : modelsLoaded.value && models.value.length === 0 ? (
        <p>This gateway offers no model yet. Its configuration names the providers.</p>
      ) : (
        <ModelPicker />
      )}
    </div>
  );
}

/** Somebody who just arrived can type at once: the first model is chosen. */
function chooseFirst(): void {
  const [first] = models.value;
  if (first && chosen.value.length === 0) choose([first]);
}
