"""For tests and demos: a local provider server that speaks the real wire formats of the providers."""

from flask_llm_cost.testing.answer import Answer, plausible_answer
from flask_llm_cost.testing.formats import reply
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply
from flask_llm_cost.testing.server import ProviderServer

__all__ = ["Answer", "ProviderServer", "Received", "Reply", "plausible_answer", "reply"]
