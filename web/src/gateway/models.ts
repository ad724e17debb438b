/** The models of the gateway, grouped by provider. */
import { signal } from "@preact/signals";

import { call, GatewayError } from "./calls";
import type { Failure } from "./failure";

export const models = signal<string[]>([]);
export const modelsFailure = signal<Failure | undefined>(undefined);
export const modelsLoaded = signal(false);

export async function loadModels(): Promise<void> {
  try {
    const response = await call("v1/models");
    const answer = (await response.json()) as { data?: { id?: unknown }[] };
    const ids = (answer.data ?? []).map((model) => model.id);
    models.value = ids.filter((id): id is string => typeof id === "string");
    modelsFailure.value = undefined;
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    modelsFailure.value = error.failure;
  } finally {
    modelsLoaded.value = true;
  }
}

const SHORT = "Short names";

/** `h2o/falcon-40b` belongs to `h2o`; a pool or an alias stands apart. */
export function groupOf(model: string): string {
  const slash = model.indexOf("/");
  return slash < 0 ? SHORT : model.slice(0, slash);
}

/** The part that tells models of one provider apart. */
export function shortName(model: string): string {
  return model.slice(model.indexOf("/") + 1);
}

export function grouped(ids: string[]): [string, string[]][] {
  const groups = new Map<string, string[]>();
  for (const id of ids) {
    const group = groupOf(id);
    groups.set(group, [...(groups.get(group) ?? []), id]);
  }
  return [...groups].sort(([a], [b]) => Number(b === SHORT) - Number(a === SHORT));
}
