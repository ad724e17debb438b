/** Requests to the gateway this page came from. The key lives in this tab only. */
import { signal } from "@preact/signals";

import { failureOf, type Failure } from "./failure";

const STORED_KEY = "penstock-key";

/** Set when the gateway asked for a key; the page then asks its user. */
export const keyWanted = signal(false);
export const key = signal(sessionStorage.getItem(STORED_KEY) ?? "");

export function setKey(value: string): void {
  key.value = value.trim();
  if (key.value) sessionStorage.setItem(STORED_KEY, key.value);
  else sessionStorage.removeItem(STORED_KEY);
  keyWanted.value = false;
}

/** A request that did not work out; carries the facts. */
export class GatewayError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

/** The answer to a request; throws `GatewayError`, or `AbortError` where `signal` was used. */
export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (key.value) headers.set("authorization", `Bearer ${key.value}`);
  let response: Response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      ...init,
      headers,
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new GatewayError({ code: "unreachable", message: "" });
  }
  if (response.ok) return response;
  const failure = await failureIn(response);
  if (failure.status === 401) keyWanted.value = true;
  throw new GatewayError(failure);
}

async function failureIn(response: Response): Promise<Failure> {
  const wait = Number(response.headers.get("retry-after") ?? "");
  const retryAfter = wait > 0 ? wait : undefined;
  let error: unknown;
  try {
    error = ((await response.json()) as { error?: unknown }).error;
  } catch {
    error = undefined;
  }
  return failureOf(error, response.status, retryAfter);
}
