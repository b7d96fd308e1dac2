"""A Flask app whose thinking is done by the cluster.

ECHELON_REDIS_URL=redis://127.0.0.1:6379/0 flask --app flask_app run
"""

from typing import Any

from flask import Flask, abort, request

from echelon_producers import Client, JobEnded, ResultTimeout, UnknownJob

app = Flask(__name__)
echelon = Client()


@app.post("/summaries")
def start() -> tuple[dict[str, str], int]:
    job = echelon.submit("fast_group.echelon1", f"Summarise in one sentence: {request.get_json()['text']}")
    return {"job": job}, 202


@app.get("/summaries/<job>")
def read(job: str) -> dict[str, Any]:
    try:
        answer = echelon.result(job, timeout_s=30)
    except ResultTimeout:
        return {"job": job, "done": False}
    except UnknownJob as exc:
        abort(404, str(exc))
    except JobEnded as exc:
        abort(502, str(exc))
    return {"job": job, "done": True, "summary": answer.text, "model": answer.model}
