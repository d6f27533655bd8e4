"""The service: a robot that is loaded once, takes wishes from wherever they come, and tells one story at a time.

    sources (stdin, socket, ...) ──> Loop.take(order) ──> Turn (a thread: acknowledgement, stories) ──> client, sound
                                       └── stops the turn before, volume, state, clock, watchdog

All decisions are made on the main thread, which only waits; a turn computes and speaks.
"""
