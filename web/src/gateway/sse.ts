/**
 * Text of an event stream in, frames out. Pure: `feed` may be cut anywhere.
 *
 * Comments are frames of their own here, because the gateway says in them what it waits for.
 * Only LF, CR and CRLF end a line (WHATWG HTML, section 9.2.6).
 */
export type Frame = { kind: "data"; text: string } | { kind: "comment"; text: string };

export class EventStreamDecoder {
  #rest = "";
  #searched = 0;
  #data: string[] = [];
  #started = false;

  feed(text: string): Frame[] {
    if (!this.#started && text) {
      this.#started = true;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    this.#rest += text;
    const frames: Frame[] = [];
    let from = 0;
    for (let at = this.#searched; at < this.#rest.length; at++) {
      const end = this.#rest[at];
      if (end !== "\n" && end !== "\r") continue;
      // A CR at the very end may be half of a CRLF: wait for the next character.
      if (end === "\r" && at + 1 === this.#rest.length) break;
      this.#line(this.#rest.slice(from, at), frames);
      if (end === "\r" && this.#rest[at + 1] === "\n") at++;
      from = at + 1;
    }
    this.#rest = this.#rest.slice(from);
    this.#searched = this.#rest.endsWith("\r") ? this.#rest.length - 1 : this.#rest.length;
    return frames;
  }

  #line(line: string, frames: Frame[]): void {
    if (line === "") {
      if (this.#data.length) frames.push({ kind: "data", text: this.#data.join("\n") });
      this.#data = [];
    } else if (line.startsWith(":")) {
      frames.push({ kind: "comment", text: line.slice(line.startsWith(": ") ? 2 : 1) });
    } else if (line.startsWith("data:")) {
      this.#data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
    } else if (line === "data") {
      this.#data.push("");
    }
  }
}
