"""The web application: the page, the REST API, and refusals told as one line of JSON.

FastAPI's own documentation pages load scripts from elsewhere, so there are none; /openapi.json has it all.
"""

from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from pfsr.errors import PfsrError
from pfsr.serving import control, history, suggestions
from pfsr.serving.forms import Error
from pfsr.serving.guard import Guard
from pfsr.serving.session import Session

ASSETS = Path(__file__).parent / "assets"
PARTS = {"/": "page.html"} | {f"/{name}": name for name in ("page.css", "page.js", "icon.svg")}

ABOUT = """What one device knows, recommends and has sent, for the person it belongs to. On this machine only.

Every request needs the token that `pfsr device serve` printed, as `Authorization: Bearer TOKEN`. Times are
milliseconds since 1970. A refusal is `{"error": "one line"}`.
"""

REFUSALS = {
    401: "No valid session token.",
    403: "A foreign Host or Origin.",
    409: "Not now: there is no model yet, learning is paused, nothing to learn from, the disk refuses.",
    422: "The request is not as described here.",
}

UNKNOWN = {
    404: "no such address here; /openapi.json has them all",
    405: "this address takes another method; /openapi.json has them all",
}


def make_app(session: Session, token: str, port: int) -> Guard:
    """Return the guarded application.

    Args:
        session: the device it serves.
        token: that lets a request in.
        port: that requests must name.
    """
    bearer = HTTPBearer(auto_error=False, description="The token that `pfsr device serve` printed.")
    app = FastAPI(
        title="PFSR device", description=ABOUT, version="1", docs_url=None, redoc_url=None,
        dependencies=[Depends(bearer)],
        responses={status: {"model": Error, "description": text} for status, text in REFUSALS.items()},
    )  # fmt: skip
    app.state.session = session
    for part in (history, suggestions, control):
        app.include_router(part.router, dependencies=[Depends(_known)])
    for address, file in PARTS.items():
        app.add_api_route(address, _sender(file), include_in_schema=False, response_class=FileResponse)
    app.add_exception_handler(PfsrError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(ValidationError, _refused)
    app.add_exception_handler(Exception, _broken)
    return Guard(app, token, port)


def _known(request: Request) -> None:
    """Refuse a parameter that the endpoint does not have: a misspelt one must not be silently ignored."""
    parameters = request.scope["route"].dependant.query_params
    unknown = set(request.query_params) - {parameter.alias for parameter in parameters}
    if unknown:
        raise HTTPException(422, f"{min(unknown)}: no such parameter here; /openapi.json has them all")


def _sender(file: str):  # noqa: ANN202
    def send() -> FileResponse:
        return FileResponse(ASSETS / file)

    return send


def _refused(_: Request, error: Exception) -> JSONResponse:
    match error:
        case HTTPException():
            told = UNKNOWN.get(error.status_code, error.detail)
            return JSONResponse({"error": told}, error.status_code, headers=error.headers)
        case RequestValidationError() | ValidationError():
            return JSONResponse({"error": _first(error)}, 422)
        case _:
            return JSONResponse({"error": str(error)}, 409)


def _first(error: RequestValidationError | ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "the request's body is not JSON"
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    return " ".join(f"{where or 'request'}: {first['msg']}".split())


def _broken(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"a bug in PFSR ({type(error).__name__}); the terminal tells more"}, 500)
