import { Dialog } from "./Dialog";

const KEYS: [string, string][] = [
  ["Enter", "send"],
  ["Shift + Enter", "new line"],
  ["Esc", "stop the answers"],
  ["↑ in an empty field", "edit the last question"],
  ["/", "go to the field"],
  ["Ctrl or ⌘ + Shift + O", "new conversation"],
  ["?", "this help"],
];

export function HelpDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Help" onClose={onClose}>
      <p>
        Choose one model, or up to four to see them answer the same question side by side. Each
        model sees its own earlier answers.
      </p>
      <dl class="keys">
        {KEYS.map(([name, does]) => (
          <div key={name}>
            <dt>
              <kbd>{name}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p class="quiet">
        Conversations are kept in this browser and nowhere else.{" "}
        <a href="licenses.md" target="_blank" rel="noopener">
          Licences of the libraries in this page
        </a>
      </p>
    </Dialog>
  );
}
