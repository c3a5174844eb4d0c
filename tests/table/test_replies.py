"""The file of replies survives a kill at every byte."""

import pytest

from dvs2s.answer import AdmittedWords, Answer, Reply
from dvs2s.errors import DataError
from dvs2s.table.replies import ReplyFile


def answer(number):
    reply = Reply(f"réply {number}", ("réply", str(number)), -float(number), -1.5, True)
    return Answer((reply, reply), AdmittedWords((), 0))


def test_a_kill_at_any_byte_costs_at_most_a_line(tmp_path):
    whole = ReplyFile(tmp_path / "whole")
    whole.append([1, 0, 2], [answer(1), answer(0), answer(2)])
    content = (tmp_path / "whole.jsonl.part").read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for cut in range(len(content) + 1):
        (tmp_path / "cut.jsonl.part").write_bytes(content[:cut])
        file = ReplyFile(tmp_path / "cut")
        done = file.done()
        assert done == set([1, 0, 2][: sum(end <= cut for end in ends)])
        missing = sorted({0, 1, 2} - done)
        file.append(missing, [answer(i) for i in missing])
        assert not file.is_complete
        file.finish({"x": 1.5})
        assert file.is_complete and file.metrics() == {"x": 1.5}
        assert [a.replies for a in file.answers()] == [answer(i).replies for i in range(3)]
        assert file.done() == {0, 1, 2}
        for name in ("cut.jsonl", "cut.json"):
            (tmp_path / name).unlink()


def test_damage_is_named(tmp_path):
    file = ReplyFile(tmp_path / "a")
    with pytest.raises(DataError, match="a.jsonl: cannot read it"):
        file.answers()
    with pytest.raises(DataError, match="a.json: damaged"):
        file.metrics()
    file.append([0, 2], [answer(0), answer(2)])
    file.finish({})
    with pytest.raises(DataError, match="messages are missing"):
        file.answers()
    (tmp_path / "a.jsonl").write_text('{"place": 0}\n')
    with pytest.raises(DataError, match="a.jsonl:1: damaged"):
        file.answers()
