"""A server in this process that is given new weights, with vLLM's and SGLang's interfaces."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from momus.lm.models import load_causal_lm
from support.openai_server import OpenAIServer
from support.tiny import tiny_engine


class Reloading(OpenAIServer):
    """The test server, taking weights as vLLM and SGLang do.

    `refuse` answers with a status, or an unsuccess; `deaf` says that all is well and keeps the weights it has; `greedy`
    takes the likeliest token, whatever is asked.
    """

    def __init__(self, refuse: int | None = None, deaf: bool = False, greedy: bool = False) -> None:
        super().__init__(tiny_engine())
        self.deaf, self.greedy = deaf, greedy
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse = refuse
        for path in ("/collective_rpc", "/reset_prefix_cache", "/update_weights_from_disk"):
            self.app.routes.append(Route(path, self._admin, methods=["POST"]))

    async def _admin(self, request: Request) -> Response:
        body = await request.json()
        self.calls.append((request.url.path, body))
        if self.refuse == 200:
            return JSONResponse({"success": False, "message": "shapes differ"})
        if self.refuse:
            return JSONResponse({"error": {"message": "not here"}}, self.refuse)
        if not self.deaf and (path := body.get("model_path") or body.get("kwargs", {}).get("weights_path")):
            self.engine.model.load_state_dict(load_causal_lm(path).state_dict())
        # As the real ones answer: with results, or nothing at all.
        return JSONResponse({"success": True}) if "model_path" in body else Response(status_code=200)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return super()._complete({**body, "temperature": 0} if self.greedy else body)
