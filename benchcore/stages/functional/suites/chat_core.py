"""Chat core: messages, roles and fields of plain chat answers."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("chat_core", "messages, roles and fields of plain chat answers")
