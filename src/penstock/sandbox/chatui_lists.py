"""Lists and settings of today's chat-ui, in the recorded form (chatui-api-lists)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.sandbox.chatui_state import Conversation, Undefined

_PAGE = 30
_OVERRIDES = (
    "customPrompts",
    "customPromptsEnabled",
    "multimodalOverrides",
    "toolsOverrides",
    "artifactsOverrides",
    "providerOverrides",
    "reasoningEffortOverrides",
    "reasoningOverrides",
)
_NOTHING_SPECIAL = {
    "supportsTools": False,
    "supportsReasoning": False,
    "supportsArtifacts": False,
    "unlisted": False,
    "hasInferenceAPI": False,
}
_SITES = ("websiteUrl", "modelUrl", "datasetName", "datasetUrl")
_TEXTS = ("description", "logoUrl", "promptExamples", "preprompt")
PUBLIC_CONFIG: Mapping[str, object] = {
    "PUBLIC_APP_ASSETS": "chatui",
    "PUBLIC_APP_NAME": "ChatUI",
}


def settings(model: str) -> dict[str, object]:
    """Give the settings of a session that has chosen nothing."""
    return {
        "welcomeModalSeen": False,
        "welcomeModalSeenAt": None,
        "activeModel": model,
        "streamingMode": "smooth",
        "directPaste": False,
        "hapticsEnabled": True,
        "hidePromptExamples": {},
        "shareConversationsWithModelAuthors": True,
        **{key: {} for key in _OVERRIDES},
        "billingOrganization": Undefined,
    }


def conversation_list(mine: Sequence[Conversation], page: int) -> dict[str, object]:
    """Give a page of /api/v2/conversations, the newest first."""
    ordered = sorted(mine, key=lambda one: one.updated, reverse=True)
    shown = ordered[page * _PAGE : (page + 1) * _PAGE]
    return {
        "conversations": [
            {
                "_id": one.ident,
                "id": one.ident,
                "title": one.title,
                "updatedAt": one.updated,
                "model": one.model,
                "modelId": one.model,
            }
            for one in shown
        ],
        "hasMore": len(ordered) > (page + 1) * _PAGE,
    }


def api_models(models: Sequence[str]) -> list[dict[str, object]]:
    """Give the list of /api/v2/models."""
    return [
        {
            "id": model,
            "name": model,
            **dict.fromkeys(_SITES, Undefined),
            "displayName": model,
            **dict.fromkeys(_TEXTS, Undefined),
            "multimodal": False,
            "multimodalAcceptedMimetypes": Undefined,
            **_NOTHING_SPECIAL,
            "isRouter": False,
        }
        for model in models
    ]


def plain_models(models: Sequence[str]) -> list[dict[str, object]]:
    """Give the list of /api/models, which is plain JSON."""
    return [
        {
            "id": model,
            "name": model,
            "websiteUrl": "https://huggingface.co",
            "modelUrl": "https://huggingface.co",
            "displayName": model,
            "description": "",
            "promptExamples": [],
            "preprompt": "",
            "multimodal": False,
            **_NOTHING_SPECIAL,
        }
        for model in models
    ]
