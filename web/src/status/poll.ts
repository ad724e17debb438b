/** The status as it is, asked for every two seconds while somebody looks. */
import { signal } from "@preact/signals";

import { call, GatewayError, keyWanted } from "../gateway/calls";
import type { Failure } from "../gateway/failure";
import type { Status } from "./series";

const EVERY = 2000;

export const status = signal<Status | undefined>(undefined);
export const statusFailure = signal<Failure | undefined>(undefined);

/** Ask until the returned function is called. */
export function watchStatus(): () => void {
  const abort = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const next = async () => {
    clearTimeout(timer);
    // Nobody looks, or the key is being asked for: wait for that to change.
    if (!document.hidden && !keyWanted.value) await read(abort.signal);
    clearTimeout(timer);
    if (!abort.signal.aborted) timer = setTimeout(() => void next(), EVERY);
  };
  const seen = () => {
    if (!document.hidden) void next();
  };
  document.addEventListener("visibilitychange", seen);
  void next();
  return () => {
    abort.abort();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}

async function read(signal: AbortSignal): Promise<void> {
  try {
    const response = await call("api/status", { signal });
    status.value = (await response.json()) as Status;
    statusFailure.value = undefined;
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof GatewayError) statusFailure.value = error.failure;
    else statusFailure.value = { code: "unreachable", message: "" };
  }
}
