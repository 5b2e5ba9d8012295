"""Definition files name their images by path, in a stage or for all stages, and nothing of the path is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.definitions import IMAGES, folder_of_images
from e2e.programs import procession
from procession import Kernel
from procession.ids import hash_id

IN_STAGE = 'device-stack = [{ device = "wasm-64@1.0", image = "good.wat" }]'
FOR_ALL = 'image = "good.wat"\ndevice-stack = ["wasm-64@1.0"]'
ALONE = 'image = "good.wat"\nexecution-device = "wasm-64@1.0"'


@pytest.mark.parametrize("rows", [IN_STAGE, FOR_ALL, ALONE], ids=["in the stage", "for all", "alone"])
def test_a_path_is_replaced_by_the_id_of_its_bytes(rows: str, tmp_path: Path) -> None:
    """The definition names the image by its id, and a kernel without the file goes on with the process."""
    file = folder_of_images(tmp_path) / "good.toml"
    file.write_text(f'[process]\nname = "good"\n{rows}\n', "utf-8")
    with Kernel.open(file, data=tmp_path / "data") as kernel:
        process = kernel.spawn()
        shown = str(process.compute(0)["process"].plain())
        assert (True, False) == (hash_id(IMAGES["good.wat"]) in shown, "good.wat" in shown)
    with Kernel.open(data=tmp_path / "data") as kernel:
        kernel.schedule(process.id, {"function": "two"})
        assert (2,) == kernel.process(process.id).now().at("results/output")


@pytest.mark.parametrize("rows", [IN_STAGE, FOR_ALL])
def test_a_schedule_made_elsewhere_is_completed_by_a_file(rows: str, tmp_path: Path) -> None:
    """What slot 0 lacks comes from the definition file, the bytes of its images too."""
    file, lines = folder_of_images(tmp_path) / "good.toml", tmp_path / "schedule.jsonl"
    file.write_text(f'[process]\nname = "good"\n{rows}\n', "utf-8")
    message = '"message": {"name": "elsewhere"}'
    lines.write_text(f'{{"slot": 0, "timestamp": 7, "block-height": 1, {message}}}\n', "utf-8")
    told = procession("import", lines, "--definition", file, "--data", tmp_path / "data", "--json")
    with Kernel.open(data=tmp_path / "data") as kernel:
        state = kernel.process(told.document["process"]).now()
        assert ("elsewhere", 0) == (state["name"], state["at-slot"])
