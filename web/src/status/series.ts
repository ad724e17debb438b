/** What `GET /api/status` says, and what is drawn of it. Pure. */
export type Breaker = "closed" | "open" | "half_open";

export interface Series {
  /** Seconds from one point to the next. */
  step: number;
  /** The instant of the last point, in seconds. */
  end: number;
  requests: number[];
  errors: number[];
  first_token_ms: (number | null)[];
  tokens_per_s: (number | null)[];
}

export interface Target {
  model: string;
  breaker: Breaker;
  in_flight: number;
  requests: number;
  errors: Record<string, number>;
  series: Series;
}

export interface Provider {
  name: string;
  label: string;
  targets: Target[];
}

export interface Status {
  version: string;
  now: number;
  uptime: number;
  open_streams: number;
  providers: Provider[];
}

/** The instants of the points, oldest first. */
export function instants(series: Series): number[] {
  const last = series.requests.length - 1;
  return series.requests.map((_, at) => series.end - (last - at) * series.step);
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The middle of what there is; undefined where nothing happened. */
export function median(values: readonly (number | null)[]): number | undefined {
  const there = values.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = there.length >> 1;
  const upper = there[middle];
  const lower = there[middle - 1];
  if (upper === undefined) return undefined;
  return there.length % 2 || lower === undefined ? upper : (lower + upper) / 2;
}

/** Whether the last hour holds anything to draw. */
export function isQuiet(target: Target): boolean {
  return !target.series.requests.some((count) => count > 0);
}

export function isIdle(target: Target): boolean {
  return target.requests === 0 && target.in_flight === 0 && target.breaker === "closed";
}

export const BREAKER_WORDS: Record<Breaker, string> = {
  closed: "working",
  open: "resting after failures",
  half_open: "being tried again",
};

/** `rate_limited` as people say it. */
export function kindWords(kind: string): string {
  return kind.replaceAll("_", " ");
}

/** `2 h 5 min`, `4 min`, `12 s`. */
export function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** Milliseconds as a person reads them. */
export function latency(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** `850`, `1.3K`, `2M`. */
export function short(value: number): string {
  return compact.format(value);
}

/** `1 request`, `2,441 requests`. */
export function counted(value: number, what: string): string {
  return `${value.toLocaleString("en")} ${what}${value === 1 ? "" : "s"}`;
}
