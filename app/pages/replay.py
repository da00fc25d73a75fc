"""Replay: one drive, with what a run predicted of it."""

import os
from pathlib import Path
from typing import Any

import streamlit as st

from app.bundle import replay_bundle
from app.player import player_css, player_js
from app.sources import Sources, find_sources, load_recording, load_run_predictions, predictions_hash, runs_for
from twin.errors import UserError
from twin.recording import content_hash

__all__ = ["show"]

NO_RUN = "no prediction"
PLAYER_HEIGHT_PX = 760


@st.cache_resource(max_entries=1)
def _player() -> Any:
    return st.components.v2.component("player", js=player_js(), css=player_css())


@st.cache_data(max_entries=4, show_spinner="Reading the recording")
def _bundle(_sources: Sources, dataset: str, recording: str, run: str, identity: str) -> dict[str, Any]:
    drive = load_recording(_sources, dataset, recording)
    predictions = None if run == NO_RUN else load_run_predictions(_sources, dataset, drive, run)
    return replay_bundle(drive, predictions)


def show() -> None:
    """The page."""
    st.title("Replay")
    sources = find_sources(
        Path(os.environ.get("TWIN_DATA", "demo/data")), Path(os.environ.get("TWIN_RUNS", "demo/runs"))
    )
    for problem in sources.problems:
        st.warning(problem)
    names = [name for name, catalogue in sources.datasets.items() if catalogue.episodes]
    if not names:
        st.info("There is nothing to replay yet.")
        return
    left, middle, right = st.columns(3)
    dataset = left.selectbox("Dataset", names, key="dataset")
    recordings = [entry.name for entry in sources.datasets[dataset].episodes]
    first = recordings.index(_worth_a_look(sources, dataset))
    recording = middle.selectbox("Recording", recordings, index=first, key=f"recording-{dataset}")
    runs = runs_for(sources, dataset, recording)
    run = right.selectbox(
        "Run", [*_models_first(sources, runs), NO_RUN], key=f"run-{dataset}", help="A model or a baseline"
    )
    if not runs:
        st.info("No run has predictions for this recording; make them with `jepa predict RUN --data DATA`.")
    entry = next(entry for entry in sources.datasets[dataset].episodes if entry.name == recording)
    if entry.manifest.source == "deepsense":
        st.caption("A real recording: it holds no buildings, no other vehicles and no codebook, so none are drawn.")
    try:
        predicted = predictions_hash(sources, dataset, recording, run)
        key = f"{dataset}/{recording}/{run}/{content_hash(entry.manifest)}/{predicted}"
        bundle = _bundle(sources, dataset, recording, run, key)
    except UserError as error:
        st.error(str(error))
        return
    _player()(data={"bundle": bundle, "key": key}, key="player", height=PLAYER_HEIGHT_PX)


def _worth_a_look(sources: Sources, dataset: str) -> str:
    """The longest recording that a run has predicted, the last of equals; without any, the last recording."""
    entries = sources.datasets[dataset].episodes
    predicted = [entry for entry in entries if runs_for(sources, dataset, entry.name)] or entries[-1:]
    return max(reversed(predicted), key=lambda entry: entry.manifest.arrays["time"].shape[0]).name


def _models_first(sources: Sources, runs: list[str]) -> list[str]:
    return sorted(runs, key=lambda name: (sources.runs[name][1].kind != "model", name))


show()
