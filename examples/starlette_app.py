"""An agent inside a web application: `uvicorn --app-dir examples starlette_app:app`.

The runtime lives as long as the application. FastAPI takes the same `lifespan`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from greenroom import Agent, InvalidInput, Overloaded

agent = Agent("triage", goal="Label every ticket")


@agent.node(outputs=["label"], then="reply")
def classify(title: str) -> str:
    return "bug" if "crash" in title.lower() else "question"


@agent.node(outputs=["answer"])
async def reply(title: str, label: str) -> str:
    await asyncio.sleep(0.1)  # here a client of this loop would ask a model
    return f"{title!r} is filed as a {label}."


agent.entry_point("api", max_concurrent=20, max_queued=500)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with agent.runtime(os.environ.get("STORE", "./store")) as runtime:
        app.state.runtime = runtime
        yield


async def accept(request: Request) -> JSONResponse:
    key = request.headers.get("idempotency-key")
    try:
        body = await request.json()
        execution = await request.app.state.runtime.trigger("api", body, idempotency_key=key)
    except Overloaded as error:
        wait = {"retry-after": str(round(error.retry_after) or 1)}
        return JSONResponse({"error": str(error)}, 503, headers=wait)
    except (InvalidInput, ValueError) as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"execution_id": execution}, 202)


async def show(request: Request) -> JSONResponse:
    execution = request.path_params["execution"]
    result = await request.app.state.runtime.wait_for_completion(execution, timeout=10)
    if result is None:
        return JSONResponse({"error": "unknown, or not finished yet"}, 404)
    return JSONResponse({"status": result.status, "output": result.output})


app = Starlette(
    routes=[
        Route("/tickets", accept, methods=["POST"]),
        Route("/tickets/{execution}", show),
    ],
    lifespan=lifespan,
)
