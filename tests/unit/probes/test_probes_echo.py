from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.probes.kinds.echo import Numbers

SECOND = 1_000_000_000


def said(numbers: Numbers, count: int, at: int = 0) -> int:
    """Say `count` numbers, one per second; when the last one was said."""
    numbers.next += count
    numbers.said_at = at + (count - 1) * SECOND
    return numbers.said_at


def counts(numbers: Numbers, last: int | None = None) -> dict[str, int]:
    found = numbers.counts(numbers.said_at if last is None else last, SECOND, 2 * SECOND)["echo"]
    return {name: value for name, value in found.items() if value}


def test_a_good_connection():
    numbers = Numbers()
    said(numbers, 5)
    assert all(numbers.take(number) for number in range(5))
    assert counts(numbers) == {"sent": 5, "back": 5}


def test_a_gap_is_lost_unless_it_still_comes():
    numbers = Numbers()
    said(numbers, 5)
    for number in (0, 3, 1, 4):
        assert numbers.take(number)
    assert counts(numbers) == {"sent": 5, "back": 4, "lost": 1, "reordered": 1}


def test_the_second_time_is_doubled():
    numbers = Numbers()
    said(numbers, 3)
    assert [numbers.take(number) for number in (0, 0, 2, 1, 1, 2)] == [True, False, True, True, False, False]
    assert counts(numbers) == {"sent": 3, "back": 3, "doubled": 3, "reordered": 1}


def test_what_is_under_way_when_the_line_ends_is_nobodys_fault():
    numbers = Numbers()
    last = said(numbers, 3)
    numbers.take(0)
    assert counts(numbers, last) == {"sent": 3, "back": 1, "in_flight": 2}


def test_what_a_line_that_lives_does_not_bring_back_is_lost():
    numbers = Numbers()
    last = said(numbers, 10)
    numbers.take(0)
    assert counts(numbers, last) == {"sent": 10, "back": 1, "lost": 6, "in_flight": 3}


def test_over_a_reconnect_the_numbers_go_on_and_the_counts_begin_anew():
    numbers = Numbers()
    said(numbers, 3)
    numbers.take(0)
    numbers.renew()
    said(numbers, 2, 5 * SECOND)
    assert not numbers.take(2), "an echo of the connection before"
    assert numbers.take(3)
    assert counts(numbers) == {"sent": 2, "back": 1, "in_flight": 1, "late": 1}


@given(st.lists(st.integers(0, 19), max_size=60))
def test_every_number_is_in_exactly_one_place(order):
    numbers = Numbers()
    said(numbers, 20)
    for number in order:
        numbers.take(number)
    found = numbers.counts(0, SECOND, 2 * SECOND)["echo"]
    assert found["back"] + found["lost"] + found["in_flight"] == found["sent"] == 20
    assert found["back"] == len(set(order))
    assert found["doubled"] == len(order) - len(set(order))
