"""Writers wait for those who ask, and not for ever."""

import threading
import time

from entra_pipeline.extract import asking as module
from entra_pipeline.extract.asking import Asking
from entra_pipeline.extract.turns import Turns


def test_what_waits_to_be_written_begins_when_the_last_reader_has_asked() -> None:
    asking, done = Asking(), []
    turns = Turns(1, "write", gate=asking.wait)
    last = asking.begun()
    last.__enter__()

    def write(name: str, size: int) -> None:
        with asking.begun(), asking.over():
            turns.call(-size, done.append, name)

    writers = [threading.Thread(target=write, args=given) for given in (("small", 1), ("large", 9))]
    for writer in writers:
        writer.start()
        time.sleep(0.1)
    assert done == []
    last.__exit__(None, None, None)
    for writer in writers:
        writer.join()
    turns.close()
    assert done == ["large", "small"]


def test_a_closed_extraction_lets_all_go_on() -> None:
    asking = Asking()
    with asking.begun():
        waiting = threading.Thread(target=asking.wait)
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        asking.hurry()
        waiting.join(5)
        assert not waiting.is_alive()


def test_nobody_waits_longer_than_patience_lasts() -> None:
    asking = Asking()
    with asking.begun():
        started = time.monotonic()
        asking.wait()
        assert time.monotonic() - started < module.PATIENCE_S + 5
