"""The gateway: OpenAI's HTTP surface over every provider.

``app.create`` makes an ASGI application that any server can host and any application can mount;
``serve`` runs it on uvicorn. Needs the extra ``gateway``.
"""
