from datetime import datetime, timedelta
from importlib import metadata

import pytest

from llrnb import provenance

RECORD = {"processor": "a", "commit": "1", "start": "2026-01-01T00:00:00+00:00"}


def test_the_machine_and_the_versions_are_named():
    here = provenance.here()
    assert here["torch"] == metadata.version("torch")
    assert here["processor"] and here["commit"]


def test_a_timed_record_has_a_beginning_and_an_end():
    with provenance.timed() as record:
        assert "end" not in record
    assert record["start"] <= record["end"] and record["device"] == "cpu"


def test_hours_at_which_several_worked_are_waited_for_once():
    first = {**RECORD, "end": "2026-01-01T02:00:00+00:00"}
    within = {**RECORD, "processor": "b", "end": "2026-01-01T01:00:00+00:00"}
    after = {**RECORD, "start": "2026-01-02T00:00:00+00:00", "end": "2026-01-02T03:00:00+00:00"}
    found = provenance.summary([after, within, first])
    assert found["core_hours"] == 6 and found["wall_hours"] == 5
    assert found["processor"] == ["a", "b"] and found["commit"] == ["1"]
    assert (found["first"], found["last"]) == ("2026-01-01", "2026-01-02")


def test_no_time_is_negative_when_the_clock_goes_back(monkeypatch):
    class Back(datetime):
        """A clock that is an hour slower at every look."""

        looks = 0

        @classmethod
        def now(cls, zone=None):
            cls.looks += 1
            return datetime.now(zone) - cls.looks * timedelta(hours=1)

    monkeypatch.setattr(provenance, "datetime", Back)
    with provenance.timed() as record:
        pass
    start, end = (datetime.fromisoformat(record[name]) for name in ("start", "end"))
    assert timedelta(0) <= end - start < timedelta(minutes=1)


def test_a_record_that_ends_before_it_starts_counts_as_no_time():
    good = {**RECORD, "end": "2026-01-01T02:00:00+00:00"}
    bad = {**RECORD, "start": "2026-01-08T00:00:00+00:00", "end": "2026-01-01T00:00:00+00:00"}
    found = provenance.summary([bad, good])
    assert found["core_hours"] == found["wall_hours"] == 2
    assert found["last"] == "2026-01-08"


def test_records_of_other_packages_are_summed_up_together_and_none_are_refused():
    end = {"end": "2026-01-01T02:00:00+00:00"}
    found = provenance.summary([{**RECORD, **end}, {**RECORD, **end, "torch": "2.0"}])
    assert found["torch"] == ["2.0", "unknown"] and found["processor"] == ["a"]
    with pytest.raises(ValueError, match="at least 1 record"):
        provenance.summary([])
