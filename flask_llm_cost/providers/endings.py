"""What a path ends in, as far as it tells one endpoint of a provider from another."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote

CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = "chat/completions", "completions", "responses", "embeddings"
MESSAGES, GENERATE, RAW_PREDICT = "v1/messages", "generateContent", "rawPredict"
GEMINI_EMBED, PREDICT_EMBEDDING = "embedContent", "predict/embedding"
TRANSCRIPTIONS, TRANSLATIONS, SPEECH = "audio/transcriptions", "audio/translations", "audio/speech"
GENERATIONS, EDITS, VARIATIONS = "images/generations", "images/edits", "images/variations"
MODERATIONS = "moderations"
OLLAMA_CHAT, OLLAMA_GENERATE, OLLAMA_EMBED = "api/chat", "api/generate", "api/embed"
COHERE_CHAT, COHERE_EMBED, COHERE_RERANK = "v2/chat", "v2/embed", "v2/rerank"
CONVERSE, INVOKE, INVOKE_EMBEDDING = "converse", "invoke", "invoke/embedding"

# OpenTelemetry's gen_ai.operation.name, where it is not "chat".
OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        COMPLETIONS: "text_completion",
        EMBEDDINGS: "embeddings",
        GENERATE: "generate_content",
        TRANSCRIPTIONS: "transcription",
        TRANSLATIONS: "translation",
        SPEECH: "speech",
        GENERATIONS: "image_generation",
        EDITS: "image_generation",
        VARIATIONS: "image_generation",
        MODERATIONS: "moderation",
        OLLAMA_GENERATE: "text_completion",
        OLLAMA_EMBED: "embeddings",
        COHERE_EMBED: "embeddings",
        COHERE_RERANK: "rerank",
        INVOKE_EMBEDDING: "embeddings",
        GEMINI_EMBED: "embeddings",
        PREDICT_EMBEDDING: "embeddings",
    }
)

# The last segment, where it is enough to go by, and the last two.
_LAST = MappingProxyType({RESPONSES: RESPONSES, EMBEDDINGS: EMBEDDINGS, MODERATIONS: MODERATIONS})
_LAST_TWO = MappingProxyType(
    {
        **{
            name: name
            for name in (
                MESSAGES,
                TRANSCRIPTIONS,
                TRANSLATIONS,
                SPEECH,
                GENERATIONS,
                EDITS,
                VARIATIONS,
                OLLAMA_CHAT,
                OLLAMA_GENERATE,
                OLLAMA_EMBED,
                COHERE_CHAT,
                COHERE_EMBED,
                COHERE_RERANK,
            )
        },
        "api/embeddings": OLLAMA_EMBED,
        "v1/chat": COHERE_CHAT,
        "v1/embed": COHERE_EMBED,
        "v1/rerank": COHERE_RERANK,
    }
)
_BEDROCK = MappingProxyType(
    {"converse": CONVERSE, "converse-stream": CONVERSE, "invoke": INVOKE, "invoke-with-response-stream": INVOKE}
)
# What a path that matters can end in, but for Google's verbs.
LAST_WORDS = frozenset({"completions", *_LAST, *_BEDROCK, *(pair.rpartition("/")[2] for pair in _LAST_TWO)})


_GEMINI = MappingProxyType(
    {
        "generateContent": GENERATE,
        "streamGenerateContent": GENERATE,
        "embedContent": GEMINI_EMBED,
        "batchEmbedContents": GEMINI_EMBED,
    }
)


def ending_of(path: str) -> str | None:
    """The name of what a path ends in; ``None`` where it is nothing that matters here."""
    head, _, last = path.rpartition("/")
    if last == "completions":
        return CHAT if head.endswith("/chat") else COMPLETIONS
    pair = f"{head.rpartition('/')[2]}/{last}"
    ending = _LAST_TWO.get(pair) or _LAST.get(last)
    if ending is not None:
        return ending
    return _on_bedrock(head, last) if last in _BEDROCK else _verb(head, last)


def _on_bedrock(head: str, last: str) -> str | None:
    """Bedrock's paths: /model/<id>/<verb>. The id may be an ARN, its slash escaped or not."""
    if not head.startswith("/model/") or len(head) == len("/model/"):
        return None
    ending = _BEDROCK[last]
    return INVOKE_EMBEDDING if ending == INVOKE and "embed" in head else ending


def _verb(head: str, last: str) -> str | None:
    """Google's paths: …/models/<model>:<verb>."""
    verb = unquote(last).rpartition(":")[2] if ":" in last or "%" in last else ""
    if verb in _GEMINI:
        return _GEMINI[verb] if head.endswith("/models") else None
    if verb == "predict":
        # Of the models behind it those that embed say what they counted.
        return PREDICT_EMBEDDING if head.endswith("/publishers/google/models") and "embedding" in last else None
    if verb in ("rawPredict", "streamRawPredict"):
        return RAW_PREDICT if head.endswith("/publishers/anthropic/models") else None
    return None
