"""A conversation with one who wishes for stories: from the button, by way of the microphone and the voice, to a command.

    with closing(open_conversation(...)) as conversation:
        conversation.greet()
        while command := conversation.next():   # waits; listens, asks back, listens; None when it is over
            ...                                 # tell, and then go on

The robot is deaf while it speaks: nothing here listens before everything has been heard that was said, and a microphone
forgets first what it has captured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from duostory import StoryError
from duostory.hearing.dialogue import TEXTS, WISHES, Answer, Ask, Dialogue, Done, turned
from duostory.hearing.grammar import Command
from duostory.hearing.listening import Heard, Listener
from duostory.hearing.sources import RATE, DeviceGone, NoMicrophone

ANSWER_S = 6.0  # for which an answer is awaited; a wish takes longer to find
ANSWER_PAUSE_S = 0.2  # in an answer, which is short; see Listener
AWAY_S, RETRY_S = 300.0, 0.5  # how long a microphone may be gone, and how often it is looked for
...
