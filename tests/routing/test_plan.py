"""Names and the order of their targets."""

from __future__ import annotations

import pytest

from penstock.config.routing import Pool, Routing, Strategy
from penstock.routing.plan import Target, ordered, plan_of

ROUTING = Routing(
    pools={"fast": Pool(targets=("h2o/falcon-40b", "replicate/meta/llama-3"), retries=2)},
    aliases={"falcon": "h2o/falcon-40b", "any": "fast"},
)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("h2o/falcon-40b", Target("h2o/falcon-40b", "h2o", "falcon-40b")),
        ("replicate/meta/llama-3", Target("replicate/meta/llama-3", "replicate", "meta/llama-3")),
        ("tgi/", Target("tgi", "tgi", "")),
        ("tgi", Target("tgi", "tgi", "")),
        ("falcon", Target("h2o/falcon-40b", "h2o", "falcon-40b")),
    ],
)
def test_a_name_of_a_target_is_a_plan_of_one(name: str, target: Target) -> None:
    plan = plan_of(name, ROUTING)
    assert plan.targets == (target,)
    assert not plan.pooled
    assert plan.pool == Pool(targets=(target.name,))


@pytest.mark.parametrize("name", ["fast", "any"])
def test_a_pool_keeps_its_order_and_rules(name: str) -> None:
    plan = plan_of(name, ROUTING)
    assert [target.name for target in plan.targets] == ["h2o/falcon-40b", "replicate/meta/llama-3"]
    assert (plan.pooled, plan.name, plan.pool.retries) == (True, "fast", 2)


@pytest.mark.parametrize(
    ("strategy", "turn", "order"),
    [
        ("ordered", 0, "abc"),
        ("ordered", 1, "abc"),
        ("round_robin", 0, "abc"),
        ("round_robin", 1, "bca"),
        ("round_robin", 5, "cab"),
        ("least_busy", 0, "cab"),
    ],
)
def test_the_strategy_sets_the_order_and_rest_comes_last(
    strategy: Strategy, turn: int, order: str
) -> None:
    busy = {"a": 2, "b": 2, "c": 1}

    def names(resting: str) -> str:
        found = ordered(
            [Target.of(name) for name in "abc"],
            strategy,
            turn=turn,
            busy=lambda target: busy[target.name],
            rests=lambda target: target.name == resting,
        )
        return "".join(target.name for target in found)

    assert names("") == order
    assert names("c") == order.replace("c", "") + "c"
