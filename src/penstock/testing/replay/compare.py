"""What came out against what was expected. Pure; each difference is one readable sentence.

Decision 23 says what is compared. An expectation that contradicts itself is a difference too: a
text that is not its pieces joined would else be met by accident.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from penstock.testing.replay.case import Case, Expected
from penstock.testing.replay.plan import CaseProtocol, Chat, ListModels, Step, is_stop
from penstock.testing.replay.run import Outcome, Run
from penstock.testing.replay.server import Arrived

SHOWN = 60
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_FAILURES = ("error", "incomplete")


def differences(
    case: Case, protocol: CaseProtocol, steps: Sequence[Step], run: Run
) -> Iterator[str]:
    """Everything in which a run differs from its case."""
    for index, (step, outcome) in enumerate(zip(steps, run.outcomes, strict=True)):
        where = f"turn {index + 1}: " if len(steps) > 1 else ""
        for difference in (
            *_of_answer(case, protocol, step, outcome),
            *_of_refusals(step, outcome),
            *_of_requests(case, protocol, outcome, run.arrived[index]),
        ):
            yield where + difference
    yield from _of_last_turn(case.expected)
    yield from _of_cleanup(case, steps, run)


# -- answers ------------------------------------------------------------------------------------


def _of_answer(case: Case, protocol: CaseProtocol, step: Step, outcome: Outcome) -> Iterator[str]:
    expected = step.expected
    if expected is None:
        return
    yield from _of_itself(expected)
    if isinstance(step.call, ListModels):
        yield from _of_list(case, step, outcome, expected)
        return
    if outcome.refused:
        return
    repaired = protocol.repaired(case, step)
    yield from _of_text(expected, outcome, repaired, streamed=_streamed(case, step))
    if not expected.says_something:
        return  # an answer whose end the recording client never looked for
    yield from _of_end(expected, outcome, case.provider)
    yield from _of_facts(expected, outcome)


def _of_facts(expected: Expected, outcome: Outcome) -> Iterator[str]:
    if expected.thinking is not None and _clean(expected.thinking) != outcome.reasoning:
        yield f"thinking: expected {_shown(expected.thinking)}, got {_shown(outcome.reasoning)}"
    if expected.next_parent is not None and expected.next_parent != outcome.parent:
        yield f"next_parent: expected {expected.next_parent}, got {outcome.parent}"
    if expected.stream_mismatch and "text_differs" not in outcome.warnings:
        yield "warnings: the final text differs from the stream, and nothing says so"
    final = expected.final_text or expected.final_content
    told = outcome.final_text
    if final is not None and told is not None and _clean(final) != told:
        yield f"final text: expected {_shown(final)}, got {_shown(told)}"


def _of_itself(expected: Expected) -> Iterator[str]:
    text, pieces = expected.text, expected.pieces
    if pieces is None or not isinstance(text, str):
        return
    if _clean("".join(pieces)) == _clean(text):
        return
    if any(pieces) or text != expected.final_content:
        yield f"the case contradicts itself: text is {_shown(text)}, not its pieces joined"


def _of_last_turn(expected: Expected) -> Iterator[str]:
    """The top level repeats the last turn (wire/allenai.md section 9)."""
    for last in expected.turns[-1:]:
        if last.exchange != expected.exchange and last.exchange is not None:
            continue  # the case is about another of its answers
        for name in ("text", "pieces", "finish", "error", "next_parent", "thinking"):
            said, above = getattr(last, name), getattr(expected, name)
            if said not in (None, msgspec.UNSET) and said != above:
                yield f"the case contradicts itself: {name} of its last turn is {_shown(said)}"


def _of_text(
    expected: Expected, outcome: Outcome, repaired: str | None, *, streamed: bool
) -> Iterator[str]:
    if expected.text_sha256 is not None:
        yield from _of_digest(expected, outcome, streamed=streamed)
    if isinstance(expected.text, msgspec.UnsetType) or (expected.text_sha256 and not expected.text):
        return
    text = _clean(expected.text or "")
    if outcome.text not in (text, repaired):
        yield f"text: expected {_shown(text)}, got {_shown(outcome.text)}"
    elif streamed and expected.pieces and outcome.text == text and not _halved(expected.pieces):
        yield from _of_pieces(_joined(expected.pieces), _joined(outcome.pieces))


def _of_digest(expected: Expected, outcome: Outcome, *, streamed: bool) -> Iterator[str]:
    digest = hashlib.sha256(outcome.text.encode("utf-8", "surrogatepass")).hexdigest()
    if digest != expected.text_sha256:
        yield f"text: expected sha256 {expected.text_sha256}, got {digest}"
    if expected.text_chars is not None and expected.text_chars != len(outcome.text):
        yield f"text: expected {expected.text_chars} characters, got {len(outcome.text)}"
    lengths = [size for size in expected.piece_chars or expected.pieces_chars or () if size]
    if streamed and lengths and lengths != [len(piece) for piece in outcome.pieces]:
        yield f"pieces: expected lengths {_shown_list(lengths)}, got others"


def _of_pieces(expected: Sequence[str], got: Sequence[str]) -> Iterator[str]:
    if expected == got:
        return
    pairs = zip(expected, got, strict=False)
    alike = next((i for i, pair in enumerate(pairs) if pair[0] != pair[1]), None)
    at = min(len(expected), len(got)) if alike is None else alike
    yield (
        f"pieces: expected {len(expected)}, got {len(got)}; the first other one is number "
        f"{at + 1}: expected {_piece(expected, at)}, got {_piece(got, at)}"
    )


def _joined(pieces: Sequence[str]) -> list[str]:
    """The pieces, without empty ones, and runs of U+FFFD with what follows them.

    Such a run waits for what may repair it (wire/openassistant.md section 6), so this border is a
    client's own choice.
    """
    found: list[str] = []
    waiting = ""
    for piece in pieces:
        waiting += piece
        if waiting and not waiting.endswith(_REPLACEMENT):
            found.append(waiting)
            waiting = ""
    return [*found, waiting] if waiting else found


def _halved(pieces: Sequence[str]) -> bool:
    """True where a character is cut in two: its first half waits for the other."""
    return any(_clean(piece) != piece for piece in pieces)


def _of_end(expected: Expected, outcome: Outcome, provider: str) -> Iterator[str]:
    error = expected.error
    if isinstance(error, msgspec.UnsetType):
        return
    if error is None:
        if outcome.error is not None and outcome.finish != "cancelled":
            yield f"error: expected none, got {outcome.error.kind}: {_shown(outcome.error.text)}"
        elif expected.finish is not None and expected.finish != outcome.finish:
            yield f"finish: expected {expected.finish}, got {outcome.finish}"
        return
    if expected.finish not in (None, outcome.finish, *_FAILURES):
        yield f"finish: expected {expected.finish}, got {outcome.finish}"
    if outcome.error is None:
        yield f"error: expected {error.kind}, got none (finish {outcome.finish})"
        return
    if outcome.error.kind != error.kind:
        said = _shown(outcome.error.text)
        yield f"error: expected kind {error.kind}, got {outcome.error.kind}: {said}"
    if error.status is not None and not _same_status(error.status, outcome.error.status):
        yield f"error: expected status {error.status}, got {outcome.error.status}"
    if error.retry_after is not None and error.retry_after != outcome.error.retry_after:
        yield f"error: expected retry_after {error.retry_after}, got {outcome.error.retry_after}"
    words = error.message
    if provider == "replicate" and isinstance(words, str) and words not in outcome.error.text:
        yield f"error: {_shown(words)} is not in {_shown(outcome.error.text)}"


def _same_status(expected: int, got: int | None) -> bool:
    """An error within a good answer has its status or none."""
    return got == expected or (got is None and 200 <= expected < 300)


def _of_list(case: Case, step: Step, outcome: Outcome, expected: Expected) -> Iterator[str]:
    yield from _of_end(expected, outcome, case.provider)
    pages = case.exchanges[step.answer : step.stop]
    listed = "".join(page.response.unpacked.decode("utf-8", "replace") for page in pages)
    if outcome.models is not None:
        if not outcome.models and outcome.error is None:
            yield "models: none listed"
        for model in outcome.models:
            if any(part not in listed for part in model.split("/")[1:]):
                yield f"models: {model} is not in the recorded list"
    if (expected.says_something or expected.next_parent) and not expected.error:
        yield "a list of models cannot answer what is expected"


# -- requests -----------------------------------------------------------------------------------


def _of_refusals(step: Step, outcome: Outcome) -> Iterator[str]:
    """We may refuse what the server refuses, by a better name (500 is none for a bad id)."""
    expected = step.expected
    if outcome.refused and outcome.error and expected and expected.error is None:
        yield f"refused here, where the server answers: {_shown(outcome.error.text)}"


def _of_requests(
    case: Case, protocol: CaseProtocol, outcome: Outcome, arrived: Sequence[Arrived]
) -> Iterator[str]:
    posted: set[int] = set()
    for request in arrived:
        if request.exchange is None:
            continue
        exchange = case.exchanges[request.exchange]
        if request.method == "POST" and request.again and request.exchange in posted:
            yield f"POST {request.path} was sent twice"
        posted.add(request.exchange)
        for name, value, sent in protocol.unlike(exchange, request):
            if name not in outcome.forgone:
                yield (
                    f"request {request.method} {request.path}: {name} should be "
                    f"{_shown(value)}, is {_shown(sent)}"
                )


def _of_cleanup(case: Case, steps: Sequence[Step], run: Run) -> Iterator[str]:
    deleted = [request for request in run.all_arrived if request.method == "DELETE"]
    if not steps or all(outcome.refused for outcome in run.outcomes):
        return
    if case.expected.cleanup_delete and not deleted:
        yield "cleanup: a correct client sends DELETE here, none came"
    if case.expected.cleanup_delete is False and deleted:
        yield "cleanup: nothing is to be deleted here, but a DELETE came"
    unknown = any(o.error and o.error.kind in ("timeout", "cancelled") for o in run.outcomes)
    tried = deleted or unknown or run.left_behind
    if case.expected.cleanup_delete is None and not tried and _deletes(case, steps):
        yield "cleanup: the recorded client sent DELETE, none came"
    yield from _of_stop(case, run)


def _deletes(case: Case, steps: Sequence[Step]) -> bool:
    """True where the recorded client deleted what a call had made."""
    made = any(isinstance(s.call, Chat) and not s.call.conversation_gone for s in steps)
    return made and any(
        exchange.request.method == "DELETE" and exchange.response.status < 300
        for exchange in case.exchanges[steps[0].answer :]
    )


def _of_stop(case: Case, run: Run) -> Iterator[str]:
    """Where the caller left, the recorded stop or cancel is sent, once."""
    if not any(outcome.left for outcome in run.outcomes):
        return
    for exchange in case.exchanges:
        path = exchange.request.path
        if is_stop(path):
            came = sum(1 for request in run.all_arrived if request.path == path)
            if came != 1:
                yield f"cleanup: POST {path} should come once, came {came} times"


def _streamed(case: Case, step: Step) -> bool:
    """True where the pieces are a stream's, so that they do not hang on polls or on one reply."""
    window = case.exchanges[step.answer : step.stop]
    return any(
        exchange.response.chunks
        and exchange.response.status < 400
        and "json" not in _content_type(exchange.response.header("content-type"))
        for exchange in window
    )


def _content_type(value: str) -> str:
    kind = value.partition(";")[0].strip().lower()
    return "stream" if kind in ("application/jsonl", "text/event-stream") else kind


# -- words --------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """Joined halves of characters; a half without its other one as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 2 * SHOWN else f"{text[:SHOWN]} … {text[-SHOWN:]}"


def _shown_list(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:10])
    return f"{shown}, …" if len(values) > 10 else shown


def _piece(pieces: Sequence[str], at: int) -> str:
    return _shown(pieces[at]) if at < len(pieces) else "none"
