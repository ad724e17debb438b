/** Line drawings of 20 by 20; decoration only, the control itself has the words. */
const PATHS = {
  menu: "M3 5.5h14M3 10h14M3 14.5h14",
  plus: "M10 4v12M4 10h12",
  send: "M10 16V4.5M5 9l5-5 5 5",
  stop: "M5.5 5.5h9v9h-9z",
  copy: "M7 7h9v9H7zM4 13V4h9",
  retry: "M15.5 10a5.5 5.5 0 1 1-1.8-4.1M16 3v4h-4",
  edit: "M4 16l.8-3.4L13.5 4l2.5 2.5-8.6 8.7zM11.6 5.9l2.5 2.5",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 10h7.6l.7-10",
  close: "M5 5l10 10M15 5L5 15",
  sun: "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8z",
  help: "M7.5 7.6a2.5 2.5 0 1 1 3.7 2.2c-.8.4-1.2.9-1.2 1.7M10 14.6v.1",
  key: "M12.5 4a3.5 3.5 0 1 1-3 5.3L4 14.8V16h2.5v-2H8v-1.6l1.7-1.7",
  down: "M10 4v12M5 11l5 5 5-5",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  check: "M4.5 10.5l3.5 3.5 7.5-8",
  sliders: "M4 6h6M14 6h2M12 4v4M4 14h2M10 14h6M8 12v4",
  warn: "M10 3.5L17.5 16h-15zM10 8v4M10 14v.1",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A button that shows only a drawing; its words are for the tip and for screen readers. */
export function IconButton(props: {
  icon: IconName;
  label: string;
  onClick: () => void;
  disabled?: boolean;
  class?: string;
  pressed?: boolean;
}) {
  return (
    <button
      type="button"
      class={`icon-button ${props.class ?? ""}`}
      aria-label={props.label}
      aria-pressed={props.pressed}
      title={props.label}
      disabled={props.disabled ?? false}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}
