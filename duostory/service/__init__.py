"""The service: a robot that is loaded once, takes wishes from wherever they come, and tells a story at a time.

    sources (lines, socket, ear) ──> Loop.take(order) ──> Turn (a thread: what it says, stories) ──> client, sound
                                       └── stops the turn before; volume, clock, watchdog

All decisions are made on the main thread, which only waits; a turn computes and speaks.
"""
