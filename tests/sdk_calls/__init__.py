"""Calls of the real SDKs, each as a function from a site to what the app sees. One module per SDK."""

from sdk_calls import anthropic_sdk, boto3_sdk, google_genai_sdk, openai_sdk, openai_tools

# The plain ones, and those for the matrix besides.
SDK_CALLS = (*openai_sdk.CALLS, *anthropic_sdk.CALLS, *google_genai_sdk.CALLS)
SURFACES = (
    *openai_sdk.CALLS,
    *openai_sdk.MORE_CALLS,
    *openai_tools.CALLS,
    *anthropic_sdk.CALLS,
    *anthropic_sdk.MORE_CALLS,
    *google_genai_sdk.CALLS,
    *google_genai_sdk.MORE_CALLS,
    *boto3_sdk.CALLS,
)
