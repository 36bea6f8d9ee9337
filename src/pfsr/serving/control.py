"""Endpoints for what the device does: where it stands, learning, what left it, taking everything along."""

import json
import time

from fastapi import APIRouter, Response

from pfsr.serving.forms import Learned, Learning, Lesson, Sent, Standpoint, Uploads
from pfsr.serving.session import Here

router = APIRouter(tags=["device"])


@router.get("/status")
def status(here: Here) -> Standpoint:
    """Tell which model answers, how much there is, and whether the device may learn."""
    now, catalog = here.device.status(), here.device.catalog
    return Standpoint(
        model_version=now.model_version,
        previous_version=now.previous_version,
        items=len(catalog) if catalog else 0,
        events=now.events,
        waiting=now.waiting,
        lessons=now.offsets_version,
        learning=here.learning,
        paused=now.learning_paused,
    )


@router.post("/learn")
def learn(lesson: Lesson, here: Here) -> Learned:
    """Adapt the model to the person's own events, here; nothing leaves the device. Needs PyTorch."""
    with here.lesson():
        report = here.device.learn(lesson.steps, lesson.seconds, here.closing.is_set)
        here.device.settle()
    return Learned(**report._asdict())


@router.put("/learning")
def pause(learning: Learning, here: Here) -> Learning:
    """Forbid learning, or allow it again; remembered. A lesson under way is given up."""
    here.device.pause_learning(learning.paused)
    return Learning(paused=here.device.learning_paused)


@router.get("/uploads")
def uploads(here: Here) -> Uploads:
    """Return everything that has ever left this device: when, how many bytes, which fields."""
    sent = [Sent.of(upload) for upload in here.device.uploads()[::-1]]
    return Uploads(uploads=sent, bytes=sum(upload.bytes for upload in sent))


@router.get("/export", responses={200: {"content": {"application/json": {}}}})
def export(here: Here) -> Response:
    """Download everything there is about the person, as JSON."""
    name = f"pfsr-{time.strftime('%Y-%m-%d')}.json"
    text = json.dumps(here.device.export(), ensure_ascii=False, indent=1)
    return Response(
        text, media_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
