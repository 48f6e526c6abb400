"""What other threads ask of a run: a bounded number of calls may wait."""

from __future__ import annotations

import asyncio
import threading

from dagflow_nb.runtime.commands import Commands


def test_a_thread_waits_for_room_and_the_loop_never() -> None:
    """With room for two, a third call of another thread waits until the loop has read one; none is lost."""

    async def main() -> None:
        loop, made, posted = asyncio.get_running_loop(), [], []
        commands = Commands(loop, 2)
        third = threading.Event()

        def post() -> None:
            for i in range(5):
                if i == 2:
                    third.set()
                commands.call(lambda i=i: made.append(i))  # type: ignore[misc]  # the default binds the variable
                posted.append(i)

        thread = threading.Thread(target=post)
        thread.start()
        # the loop does nothing until we await: two calls fit, the third cannot
        assert third.wait(10)
        thread.join(0.05)
        assert posted == [0, 1] and made == []
        for i in range(10, 15):
            commands.call(lambda i=i: made.append(i))  # type: ignore[misc]  # the same
        while len(made) < 10:
            await asyncio.sleep(0)
        thread.join(10)
        assert sorted(made) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14] and posted == [0, 1, 2, 3, 4]

    asyncio.run(main())


def test_a_loop_that_has_ended_is_no_error() -> None:
    """Asking a run whose loop is closed does nothing, however often."""
    loop = asyncio.new_event_loop()
    commands = Commands(loop, 1)
    loop.close()
    for _ in range(3):
        thread = threading.Thread(target=commands.call, args=(lambda: None,))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
