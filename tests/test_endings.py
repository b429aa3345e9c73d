"""Every word for how something ended has one sentence, and stored tables hold no other words."""

import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import llrnb
from llrnb import certificate, endings, interpolation, least_squares, relu, training
from llrnb.endings import Ending, Instance, sentence

KINDS = Ending.__subclasses__()
WORDS = [word for kind in KINDS for word in kind]
# Of tables that older versions have computed.
OLDER = {"interpolates, not certified", "solved"}
DATA = Path(llrnb.__file__).parents[1] / "book" / "data"


@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_every_word_has_a_sentence(word):
    assert word.sentence[0].isupper() and word.sentence.endswith(".") and " " in word.sentence
    assert sentence(str(word)) == word.sentence
    assert pickle.loads(pickle.dumps(word)) is type(word)(str(word)) is word


def test_no_word_has_two_meanings_and_no_meaning_two_words():
    pairs = {(str(word), word.sentence) for word in WORDS}
    assert len({word for word, _ in pairs}) == len({meaning for _, meaning in pairs}) == len(pairs)
    assert len(pairs) < len(WORDS)  # some are shared


def test_there_are_no_other_vocabularies():
    texts = {path.name: path.read_text() for path in Path(llrnb.__file__).parent.rglob("*.py")}
    assert [name for name, text in texts.items() if "Enum" in text] == ["endings.py"]


def test_vocabularies_are_found_where_they_are_used():
    assert training.Status is training.outcome.Status is llrnb.Status is endings.Status
    assert llrnb.Outcome is certificate.Outcome is interpolation.Outcome is endings.Outcome
    assert least_squares.Stop is endings.Stop
    assert relu.Reason is relu.verdict.Reason is endings.Reason


def test_published_tables_hold_words_that_have_a_sentence():
    seen = set()
    for path in DATA.rglob("*.parquet"):
        columns = {"status", "outcome", "reason", "verdict"} & set(pq.read_schema(path).names)
        if "reason" in columns and "verdict" in columns:
            columns -= {"reason"}  # that of a rank is a text of its own
        table = pq.read_table(path, columns=sorted(columns))
        seen |= {word for name in columns for word in table[name].unique().to_pylist() if word}
    assert len(seen) > 15 and {"step limit", "recovered", "convincing"} < seen
    assert all(sentence(word) for word in seen - OLDER)


def test_a_word_of_no_vocabulary_is_refused():
    with pytest.raises(ValueError, match="needs one of the words .*'tie'.*, got 'done'"):
        sentence("done")
    assert Instance("recovered") == "recovered" and len({Instance.RECOVERED, "recovered"}) == 1
