"""Rules over gates are found where they were planted."""

from __future__ import annotations

import numpy as np
import pytest

from detector.jobs.interpretation.rules import GateState, Rule, best_single, grow_rules


def coins(count: int = 2000, gates: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, gates)) < 0.5


def test_a_rule_holds_where_enough_gates_are_in_their_states() -> None:
    states = (
        GateState(gate=0, is_open=True),
        GateState(gate=2, is_open=False),
        GateState(gate=3, is_open=True),
    )
    bits = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 0]], dtype=bool)
    held = [Rule(states=states, at_least=m).holds(bits).tolist() for m in (1, 2, 3)]
    assert held == [
        [True, True, True, True],
        [True, True, False, False],
        [True, False, False, False],
    ]


@pytest.mark.parametrize("at_least", [0, 2])
def test_a_rule_asks_for_some_of_its_gates_and_no_more_than_it_has(at_least) -> None:
    with pytest.raises(ValueError, match="1 to 1"):
        Rule(states=(GateState(gate=0, is_open=True),), at_least=at_least)


def test_a_planted_conjunction_with_a_closed_gate_is_found_whole() -> None:
    bits = coins()
    members = bits[:, 3] & bits[:, 5] & ~bits[:, 9]
    rule = grow_rules(bits, members, most=3)[-1]
    assert {(each.gate, each.is_open) for each in rule.states} == {
        (3, True),
        (5, True),
        (9, False),
    }
    assert rule.at_least == 3
    assert (rule.holds(bits) == members).all()


def test_a_planted_majority_is_found_whole() -> None:
    bits = coins(seed=1)
    members = bits[:, [0, 4, 7]].sum(axis=1) >= 2
    rule = grow_rules(bits, members, most=3)[-1]
    assert (sorted(each.gate for each in rule.states), rule.at_least) == ([0, 4, 7], 2)


def test_the_best_single_gate_is_that_of_trying_all_in_both_states() -> None:
    bits = coins(count=300, seed=2)
    members = np.random.default_rng(3).random(300) < 0.2
    (state,) = best_single(bits, members).states

    def balanced(holds: np.ndarray) -> float:
        return (holds[members].mean() + 1 - holds[~members].mean()) / 2

    tried = [balanced(side[:, gate]) for gate in range(12) for side in (bits, ~bits)]
    found = bits[:, state.gate] == state.is_open
    assert balanced(found) == pytest.approx(max(tried), abs=1e-6)


def test_no_gate_is_chosen_twice_and_none_is_left_to_choose_at_the_end() -> None:
    bits = coins(count=100, gates=4, seed=4)
    rules = grow_rules(bits, bits[:, 0], most=9)
    assert [len(rule.states) for rule in rules] == [1, 2, 3, 4]
    assert len({state.gate for state in rules[-1].states}) == 4
