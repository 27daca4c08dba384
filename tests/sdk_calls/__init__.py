"""Calls of the real SDKs, each as a function from a site to what the app sees. One module per SDK."""

from sdk_calls import anthropic_sdk, google_genai_sdk, openai_sdk

SDK_CALLS = (*openai_sdk.CALLS, *anthropic_sdk.CALLS, *google_genai_sdk.CALLS)
