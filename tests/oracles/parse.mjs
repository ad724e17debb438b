// Reads a JSON list of streams, each a list of reads in base64, and writes for each the events
// that eventsource-parser makes of them, as [event, data, id].
import { readFileSync } from "node:fs";
import { createParser } from "eventsource-parser";

const streams = JSON.parse(readFileSync(0, "utf-8"));
const parsed = streams.map((reads) => {
  const events = [];
  const parser = createParser({
    onEvent: ({ event, data, id }) => events.push([event ?? "message", data, id ?? ""]),
  });
  // It drops one leading byte-order mark, as the rules ask; the parser leaves that to it.
  const decoder = new TextDecoder("utf-8");
  for (const read of reads) {
    parser.feed(decoder.decode(Buffer.from(read, "base64"), { stream: true }));
  }
  parser.feed(decoder.decode());
  return events;
});
process.stdout.write(JSON.stringify(parsed));
