"""A FastAPI app whose thinking is done by the cluster.

ECHELON_REDIS_URL=redis://127.0.0.1:6379/0 uvicorn fastapi_app:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from echelon_producers import AsyncClient, JobEnded, ResultTimeout, UnknownJob

echelon = AsyncClient()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await echelon.aclose()


app = FastAPI(lifespan=lifespan)


class Text(BaseModel):
    text: str


@app.post("/summaries", status_code=202)
async def start(text: Text) -> dict[str, str]:
    job = await echelon.submit("fast_group.echelon1", f"Summarise in one sentence: {text.text}")
    return {"job": job}


@app.get("/summaries/{job}")
async def read(job: str) -> dict[str, Any]:
    try:
        answer = await echelon.result(job, timeout_s=30)
    except ResultTimeout:
        return {"job": job, "done": False}
    except UnknownJob as exc:
        raise HTTPException(404, str(exc)) from exc
    except JobEnded as exc:
        raise HTTPException(502, str(exc)) from exc
    return {"job": job, "done": True, "summary": answer.text, "model": answer.model}
