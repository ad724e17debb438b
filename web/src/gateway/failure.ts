/** What went wrong, as facts; and those facts as a sentence with what to do. Pure. */
export interface Failure {
  /** The machine word of the error: OpenAI's `code`, or the gateway's kind. */
  code: string;
  /** What the gateway or the back end said. */
  message: string;
  status?: number | undefined;
  param?: string | undefined;
  /** Seconds the server asks to wait. */
  retryAfter?: number | undefined;
}

const BY_STATUS: Record<number, string> = {
  400: "bad_request",
  401: "invalid_api_key",
  403: "forbidden",
  404: "not_found",
  408: "timeout",
  413: "too_large",
  429: "rate_limited",
  503: "overloaded",
  504: "timeout",
};

/** The facts of an error body, of an error event, or of what else a server sent instead. */
export function failureOf(error: unknown, status?: number, retryAfter?: number): Failure {
  const fields = isRecord(error) ? error : {};
  const code = fields["code"] ?? BY_STATUS[status ?? 0] ?? fields["type"];
  const message = typeof error === "string" ? error : fields["message"];
  const param = fields["param"];
  return {
    code: typeof code === "string" && code ? code : "server",
    message: typeof message === "string" ? message : "",
    status,
    param: typeof param === "string" ? param : undefined,
    retryAfter,
  };
}

/** One sentence, or two: what happened, and what to do about it. */
export function sentence(failure: Failure, model: string): string {
  const byStatus = BY_STATUS[failure.status ?? 0];
  return (
    sentenceFor(failure.code, failure, model) ??
    // A word nobody here knows: the status says enough.
    (byStatus && sentenceFor(byStatus, failure, model)) ??
    `The server of ${model} failed. ${later(failure)}`
  );
}

function sentenceFor(code: string, failure: Failure, model: string): string | undefined {
  switch (code) {
    case "invalid_api_key":
    case "authentication_error":
      return "The gateway wants a key, or does not know this one.";
    case "forbidden":
    case "permission_error":
      return `This key may not use ${model}.`;
    case "rate_limited":
    case "rate_limit_exceeded":
    case "rate_limit_error":
      return `${model} takes no more requests right now. ${later(failure)}`;
    case "insufficient_quota":
      return `The quota for ${model} is used up.`;
    case "overloaded":
    case "overloaded_error":
      return `${model} is overloaded. ${later(failure)}`;
    case "timeout":
      return `${model} did not answer in time. Try again, or ask another model.`;
    case "truncated":
      return "The answer broke off before its end. What came is kept.";
    case "unreachable":
      return "The gateway cannot be reached. Is it still running?";
    case "network":
    case "upstream_network":
      return `The connection to the server of ${model} failed. ${later(failure)}`;
    case "context_length":
    case "context_length_exceeded":
      return `This conversation is too long for ${model}. Start a new one, or edit an earlier question.`;
    case "too_large":
      return "This message is too large for the gateway. Shorten it.";
    case "moderation":
    case "content_filter":
      return `The content filter of ${model} refused this. Put it differently.`;
    case "model_not_found":
    case "unknown_model":
      return `The gateway knows no model named ${model}. Choose another one.`;
    case "not_found":
    case "not_found_error":
      return `The server of ${model} does not know what it was asked for. Try again.`;
    case "unsupported_parameter":
      return `${model} cannot do this${failure.param ? `: ${failure.param}` : ""}.`;
    case "bad_request":
    case "invalid_request_error":
      return failure.param
        ? `${model} does not accept the value of ${failure.param}.`
        : `${model} does not accept this request.`;
    case "model":
      return `${model} failed while it answered. Try again.`;
    case "cancelled":
      return `The server of ${model} gave up this answer. Try again.`;
    case "redirect":
    case "protocol":
      return `The server of ${model} gave an answer that makes no sense. Try again.`;
    case "config":
      return "The gateway is not set up for this model. Its owner has to look at the configuration.";
    case "auth":
    case "payment":
    case "captcha":
    case "upstream_auth":
    case "upstream_payment":
    case "upstream_forbidden":
    case "upstream_captcha":
      return `The server of ${model} refused the gateway's own credential. Its owner has to look at it.`;
    case "stopping":
      return `The gateway is being shut down. ${later(failure)}`;
    case "server":
    case "server_error":
      return `The server of ${model} failed. ${later(failure)}`;
    default:
      return undefined;
  }
}

/** The same for what is asked of the gateway itself: its models, its status. */
export function gatewaySentence(failure: Failure, what: string): string {
  switch (failure.code) {
    case "unreachable":
    case "invalid_api_key":
    case "authentication_error":
      return sentence(failure, "");
    case "forbidden":
    case "permission_error":
      return "This key is not for that.";
    default:
      return `The gateway cannot ${what} right now.`;
  }
}

/** Whether asking the same again may help. */
export function worthRetrying(failure: Failure): boolean {
  return !["context_length", "too_large", "moderation", "model_not_found", "unknown_model"].includes(
    failure.code,
  );
}

function later(failure: Failure): string {
  const wait = failure.retryAfter;
  return wait ? `Try again in ${seconds(wait)}.` : "Try again in a moment.";
}

function seconds(count: number): string {
  if (count < 90) return `${Math.ceil(count)} s`;
  return `${Math.ceil(count / 60)} minutes`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
