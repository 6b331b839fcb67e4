"""Asking a model that chats: messages in, text or JSON out, wherever it runs.

`protocol` says what a chat is; `engine` is one over an engine, `server` one on an OpenAI-compatible server, `messages`
one on a server with Anthropic's Messages API; `open` finds the right one by name. What wraps any of them: `cache`
(equal questions, equal answers) and `costs` (tokens, money, a budget).
"""
