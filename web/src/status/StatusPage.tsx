/** Every provider and target: whether it works, how much, how fast, over the last hour, live. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { gatewaySentence } from "../gateway/failure";
import { Icon } from "../ui/Icon";
import { Plot } from "./Plot";
import { status, statusFailure, watchStatus } from "./poll";
import * as series from "./series";
import type { Provider, Status, Target } from "./series";

/** With more targets than this, those that nobody asked are folded away. */
const MANY = 8;

export function StatusPage() {
  useEffect(watchStatus, []);
  const known = status.value;
  return (
    <div class="status" tabIndex={0} role="region" aria-label="Status">
      <div class="status-inner">
        <h1>Status</h1>
        <Problem />
        {known ? <Known known={known} /> : !statusFailure.value && <p class="quiet">Asking…</p>}
      </div>
    </div>
  );
}

function Problem() {
  const failure = statusFailure.value;
  if (!failure) return null;
  return (
    <div class="failure" role="alert">
      <p>
        <Icon name="warn" />
        <span>
          {gatewaySentence(failure, "say how it is doing")}
          {status.value ? " What you see is no longer live." : ""}
        </span>
      </p>
    </div>
  );
}

function Known({ known }: { known: Status }) {
  const all = useSignal(false);
  const targets = known.providers.flatMap((provider) => provider.targets);
  const idle = targets.filter(series.isIdle).length;
  const folded = !all.value && targets.length > MANY && idle > 0;
  return (
    <>
      <Summary known={known} targets={targets} />
      {known.providers.map((provider) => (
        <ProviderView key={provider.name} provider={provider} folded={folded} />
      ))}
      {targets.length > MANY && idle > 0 && (
        <p>
          <button type="button" class="secondary" onClick={() => (all.value = !all.value)}>
            {folded ? `Show ${idle} models that nobody asked` : "Show only models in use"}
          </button>
        </p>
      )}
      {targets.length === 0 && <p>This gateway has no targets. Its configuration names them.</p>}
    </>
  );
}

function Summary({ known, targets }: { known: Status; targets: Target[] }) {
  const ill = targets.filter((target) => target.breaker !== "closed").length;
  const facts: [string, string][] = [
    ["Open streams", String(known.open_streams)],
    ["Requests, last hour", count(series.sum(targets.flatMap((t) => t.series.requests)))],
    ["Errors, last hour", count(series.sum(targets.flatMap((t) => t.series.errors)))],
    ["Targets not working", ill === 0 ? "none" : `${ill} of ${targets.length}`],
    ["Running for", series.duration(known.uptime)],
    ["Version", known.version],
  ];
  return (
    <dl class="summary">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function ProviderView({ provider, folded }: { provider: Provider; folded: boolean }) {
  const shown = provider.targets.filter((target) => !folded || !series.isIdle(target));
  if (shown.length === 0) return null;
  return (
    <section class="provider-status" aria-label={provider.label}>
      <h2>{provider.label}</h2>
      {shown.map((target) => (
        <TargetView key={target.model} target={target} />
      ))}
    </section>
  );
}

function TargetView({ target }: { target: Target }) {
  const kinds = Object.entries(target.errors).sort(([, a], [, b]) => b - a);
  return (
    <article class="target" aria-label={target.model}>
      <header>
        <h3>{target.model}</h3>
        <span class={`breaker ${target.breaker}`}>{series.BREAKER_WORDS[target.breaker]}</span>
      </header>
      <p class="facts">
        <span>{series.counted(target.requests, "request")}</span>
        {target.in_flight > 0 && <span>{target.in_flight} running</span>}
        {kinds.map(([kind, times]) => (
          <span key={kind} class="kind">
            {count(times)} {series.kindWords(kind)}
          </span>
        ))}
      </p>
      {series.isQuiet(target) ? (
        <p class="quiet">Nothing in the last hour.</p>
      ) : (
        <Plots target={target} />
      )}
    </article>
  );
}

function Plots({ target }: { target: Target }) {
  const { requests, errors, first_token_ms: first, tokens_per_s: pace, step } = target.series;
  const times = series.instants(target.series);
  const [all, bad] = [series.sum(requests), series.sum(errors)];
  const [wait, rate] = [series.median(first), series.median(pace)];
  const waitWords = wait === undefined ? "no data" : `median ${series.latency(wait)}`;
  const rateWords = rate === undefined ? "no data" : `median ${series.short(Math.round(rate))}`;
  return (
    <div class="plots">
      <Plot
        title={`Requests per ${step} s`}
        summary={bad ? `${count(all)} in all, ${count(bad)} failed` : `${count(all)} in all`}
        words={`${target.model}: ${series.counted(all, "request")} in the last hour, ${bad} of them failed`}
        times={times}
        lines={[
          { values: requests, colour: "plot", columns: true },
          { values: errors, colour: "plot-bad", columns: true },
        ]}
        at={(i) => `${requests[i] ?? 0}${errors[i] ? `, ${errors[i]} failed` : ""}`}
      />
      <Plot
        title="First token, ms"
        summary={waitWords}
        words={`${target.model}: time to the first token in the last hour, ${waitWords}`}
        times={times}
        lines={[{ values: first, colour: "plot" }]}
        at={(i) => (first[i] == null ? "nothing" : series.latency(first[i]))}
      />
      <Plot
        // The gateway counts the parts in which text comes, about one for each token.
        title="Pieces per second"
        summary={rateWords}
        words={`${target.model}: pieces of text per second in the last hour, ${rateWords}`}
        times={times}
        lines={[{ values: pace, colour: "plot" }]}
        at={(i) => (pace[i] == null ? "nothing" : series.short(pace[i]))}
      />
    </div>
  );
}

function count(value: number): string {
  return value.toLocaleString("en");
}
