from importlib import metadata

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
