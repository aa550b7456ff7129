"""The Quectel EC25: its settings, its commands and its call notifications.

Importing the package fills the table of commands.
"""

from simrack.lab.emulator.ec25 import basic, calling, card, messages, radio

__all__ = ["basic", "calling", "card", "messages", "radio"]
