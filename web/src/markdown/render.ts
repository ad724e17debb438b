/**
 * Markdown of a model as DOM nodes that can neither run nor load anything.
 *
 * Three walls. HTML in the text is shown as text, except a few tags without attributes. What
 * Markdown makes is sanitised after it was made, by a list of what is allowed. Last, links and
 * images of the result are rebuilt here: a link shows the host it really goes to, a remote image
 * becomes such a link. Behind them stands the page's Content-Security-Policy.
 */
import DOMPurify from "dompurify";
import { Marked, type Token, type TokensList } from "marked";

import { highlight } from "./highlight";

const HARMLESS_TAG = /^<\/?(?:b|br|em|i|kbd|s|strong|sub|sup|u)\s*\/?>$/i;
const CLASS = /^(?:hljs[\w-]*|language-[\w+#.-]+|[a-z]+_)$/;
const RASTER = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+$/;

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html({ text }) {
      return HARMLESS_TAG.test(text.trim()) ? text.trim() : escape(text);
    },
    image({ href, text }) {
      return `<img alt="${escape(text)}" src="${escape(href)}">`;
    },
    code({ text, lang }) {
      const language = /^[\w+#.-]*/.exec(lang ?? "")?.[0] ?? "";
      const body = highlight(text, language) ?? escape(text);
      return `<pre><code class="language-${language || "text"}">${body}</code></pre>`;
    },
  },
});

export interface Block {
  /** The same raw text gives the same nodes: a finished block is not drawn again. */
  raw: string;
  token: Token;
  references: number;
}

/** The top-level blocks of a text. */
export function blocksOf(text: string): Block[] {
  const tokens = marked.lexer(text);
  const references = Object.keys(tokens.links).length;
  return tokens
    .filter((token) => token.type !== "space" && token.type !== "def")
    .map((token) => ({ raw: token.raw, token, references }));
}

/** A block as nodes, ready to be put into the page. */
export function nodesOf(block: Block): DocumentFragment {
  const tokens = Object.assign([block.token], { links: {} }) as TokensList;
  return clean(marked.parser(tokens));
}

export function clean(html: string): DocumentFragment {
  const fragment = DOMPurify.sanitize(html, {
    ALLOWED_TAGS: [
      ..."a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i img input kbd li ol p pre s".split(" "),
      ..."span strong sub sup table tbody td th thead tr u ul".split(" "),
    ],
    ALLOWED_ATTR: ["align", "alt", "checked", "class", "disabled", "href", "src", "start", "type"],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpeg|gif|webp);)/i,
    // Their values are no addresses, so the rule for addresses is not for them.
    ADD_URI_SAFE_ATTR: ["align", "checked", "disabled", "start", "type"],
    ALLOW_ARIA_ATTR: false,
    ALLOW_DATA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const element of fragment.querySelectorAll("[class]")) keepOwnClasses(element);
  for (const image of fragment.querySelectorAll("img")) rebuildImage(image);
  for (const link of fragment.querySelectorAll("a")) rebuildLink(link);
  for (const input of fragment.querySelectorAll("input")) rebuildCheckbox(input);
  for (const heading of fragment.querySelectorAll("h1, h2, h3, h4, h5, h6")) lower(heading);
  for (const table of fragment.querySelectorAll("table")) frame(table);
  for (const pre of fragment.querySelectorAll("pre")) captionCode(pre);
  return fragment;
}

function keepOwnClasses(element: Element): void {
  const kept = [...element.classList].filter((name) => CLASS.test(name));
  if (kept.length) element.className = kept.join(" ");
  else element.removeAttribute("class");
}

/** Only pixels that are in the text itself are shown. */
function rebuildImage(image: HTMLImageElement): void {
  const source = image.getAttribute("src") ?? "";
  const words = image.alt || "image";
  const other = image.closest("a") ? "span" : "a";
  const shown = make(RASTER.test(source) ? "img" : other);
  if (shown instanceof HTMLImageElement) {
    shown.src = source;
    shown.alt = words;
  } else {
    shown.textContent = `Image: ${words}`;
    shown.setAttribute("href", source);
  }
  image.replaceWith(shown);
}

/** A link opens elsewhere, tells nobody where it was, and shows its host when its words do not. */
function rebuildLink(link: HTMLAnchorElement): void {
  const url = absolute(link.getAttribute("href"));
  const words = make("bdi");
  words.append(...link.childNodes);
  if (!url) {
    link.replaceWith(words);
    return;
  }
  const shown = make("a") as HTMLAnchorElement;
  shown.href = url.href;
  shown.title = url.href;
  shown.target = "_blank";
  shown.rel = "noopener noreferrer nofollow";
  shown.append(words);
  link.replaceWith(shown);
  const destination = url.protocol === "mailto:" ? url.pathname : url.host;
  if (words.textContent?.trim() === link.getAttribute("href")) return;
  const host = make("bdi");
  host.className = "link-host";
  host.textContent = ` (${destination})`;
  shown.append(host);
}

/** Addresses without a scheme would be pages of the gateway itself: they are no links. */
function absolute(address: string | null): URL | undefined {
  if (!address || !/^(?:https?:\/\/|mailto:)/i.test(address) || !URL.canParse(address)) {
    return undefined;
  }
  return new URL(address);
}

function rebuildCheckbox(input: HTMLInputElement): void {
  const box = make("span");
  box.className = "task";
  box.textContent = input.checked ? "☑" : "☐";
  input.replaceWith(box);
}

/** An answer is a part of the page: its headings stand below that of the answer itself. */
function lower(heading: Element): void {
  const level = Number(heading.tagName[1]);
  const lowered = make("p");
  lowered.className = `heading heading-${level}`;
  lowered.setAttribute("role", "heading");
  lowered.setAttribute("aria-level", String(level + 2));
  lowered.append(...heading.childNodes);
  heading.replaceWith(lowered);
}

function frame(table: HTMLTableElement): void {
  const box = make("div");
  box.className = "table";
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Table");
  table.replaceWith(box);
  box.append(table);
}

/** Code gets its language and a button to copy it; one listener for all is in `Markdown`. */
function captionCode(pre: HTMLPreElement): void {
  const language = /language-(\S+)/.exec(pre.querySelector("code")?.className ?? "")?.[1] ?? "text";
  const name = make("span");
  name.textContent = language === "text" ? "" : language;
  const button = make("button") as HTMLButtonElement;
  button.type = "button";
  button.className = "copy-code";
  button.textContent = "Copy";
  button.setAttribute("aria-label", language === "text" ? "Copy code" : `Copy ${language} code`);
  const caption = make("figcaption");
  caption.append(name, button);
  const figure = make("figure");
  figure.className = "code";
  pre.replaceWith(figure);
  pre.tabIndex = 0;
  figure.append(caption, pre);
}

function make(tag: string): HTMLElement {
  return document.createElement(tag);
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
