/** A text of a model as it grows: finished blocks stay, only the last one is drawn again. */
import { memo } from "preact/compat";
import { useLayoutEffect, useRef } from "preact/hooks";

import { copy } from "../ui/notices";
import { coloured } from "./highlight";
import { blocksOf, nodesOf, type Block } from "./render";

export const Markdown = memo(function Markdown({ text }: { text: string }) {
  const colours = coloured.value;
  return (
    <div class="markdown" onClick={copyCode}>
      {blocksOf(text).map((block, at) => (
        <BlockView key={at} block={block} colours={colours} />
      ))}
    </div>
  );
});

const BlockView = memo(
  function BlockView({ block }: { block: Block; colours: boolean }) {
    const place = useRef<HTMLDivElement>(null);
    useLayoutEffect(() => place.current?.replaceChildren(nodesOf(block)));
    return <div ref={place} />;
  },
  (old, now) =>
    old.block.raw === now.block.raw &&
    old.block.references === now.block.references &&
    old.colours === now.colours,
);

function copyCode(event: MouseEvent): void {
  if (!(event.target instanceof HTMLElement)) return;
  const button = event.target.closest("button.copy-code");
  const code = button?.closest("figure")?.querySelector("code");
  if (code) void copy(code.textContent ?? "", "Code");
}
