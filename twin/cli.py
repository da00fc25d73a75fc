"""The command line of the twin: `twin COMMAND --help` says what each command does.

What only one command needs, and takes long to import, is imported there.
"""

import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from twin.console import EpisodeProgress, print_json, progress_bar, run_command_line
from twin.errors import UserError
from twin.recording import (
    DEFAULT_MAX_BAD,
    DEFAULT_RATE_HZ,
    MODALITIES,
    ExportSummary,
    filesystem_of,
    import_deepsense,
    is_url,
    verify_dataset,
)

__all__ = ["commands", "main"]

commands = typer.Typer(no_args_is_help=True, add_completion=False, help="Scenes, recordings and what verifies them.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


@contextmanager
def _progress(task: str) -> Iterator[Callable[[int, int], None]]:
    with progress_bar() as bar:
        bar.live.transient = True  # an error stays the only line
        number = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(number, completed=done, total=total)


@commands.command()
def scenarios(
    as_json: AsJson = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of scenario.yaml.")] = False,
) -> None:
    """List the scenarios that come with the project."""
    from twin.scenario import json_schema, load_scenario, scenario_names

    if schema:
        print_json(json_schema())
        return
    found = {name: load_scenario(name).description for name in scenario_names()}
    if as_json:
        print_json({"scenarios": [{"name": name, "description": text} for name, text in found.items()]})
        return
    for name, text in found.items():
        print(f"{name}: {text}")


SWALLOWED_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A path swallows one slash of a URL, and a local folder of that name is not what was asked for."""


def _refuse_url(out: Path) -> None:
    if SWALLOWED_URL.match(str(out)):
        raise UserError("is a URL", out, "write to a local directory and copy it; what reads recordings takes URLs")


@commands.command()
def generate(
    scenario: Annotated[str, typer.Argument(help="Name of a scenario, or its YAML file.")],
    out: Annotated[str, typer.Option(help="Directory to make, or URL that fsspec knows; one recording an episode.")],
    episodes: Annotated[int, typer.Option(help="Episodes to make.")] = 1,
    frames: Annotated[int | None, typer.Option(help="Frames an episode at most; else what the scenario says.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random number.")] = 0,
    modalities: Annotated[str, typer.Option(help="What to record, separated by commas.")] = ",".join(MODALITIES),
    keep: Annotated[
        str, typer.Option(help="What else: any of radar_cube, lidar_points, camera_depth, camera_instance.")
    ] = "",
    backend: Annotated[
        str, typer.Option(help="What traces the rays: numba, or sionna (whose paths vanish behind vehicles).")
    ] = "numba",
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Dask scheduler whose workers make the episodes: tcp://HOST:PORT.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what OUT holds of the same request.")] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate episodes of a scenario and write their recordings."""
    from twin.generation import dataset_summary, generate_dataset

    if SWALLOWED_URL.match(out) and not is_url(out):
        raise UserError("is no URL", out, "write two slashes after the colon")
    filesystem, place = filesystem_of(out)
    if filesystem.exists(place) and not resume:
        raise UserError("exists already", out, "choose another output, or add --resume to complete it")
    started = time.monotonic()
    with EpisodeProgress() as progress:
        generate_dataset(
            scenario,
            out,
            episodes=episodes,
            frames=frames,
            seed=seed,
            modalities=_names(modalities),
            keep=_names(keep),
            backend=backend,
            workers=workers,
            cluster=cluster,
            progress=progress.episodes,
            on_frames=progress.frames,
        )
    seconds = time.monotonic() - started
    whole = dataset_summary(out)
    if as_json:
        made = {
            "made_episodes": progress.made_episodes,
            "made_frames": progress.made_frames,
            "seconds": round(seconds, 3),
            "frames_per_s": round(progress.made_frames / seconds, 3),
        }
        print_json({"out": out, **whole, **made})
        return
    print(f"{out}: {whole['episodes']} episodes, {whole['frames']} frames, dataset {whole['dataset_hash'][:16]}")
    rate, mean = f"{progress.made_frames / seconds:,.1f} a second", f"{whole['bytes_per_frame']:,.0f} bytes a frame"
    print(f"made {progress.made_frames} frames in {seconds:.1f} s, {rate}; {mean}")


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


@commands.command("import")
def import_command(
    csv: Annotated[Path, typer.Argument(help="CSV of a DeepSense 6G scenario, in its folder.")],
    out: Annotated[Path, typer.Option(help="Directory to make, one recording a sequence.")],
    rate_hz: Annotated[float, typer.Option(help="Frame rate [Hz] where the CSV has no time stamps.")] = DEFAULT_RATE_HZ,
    max_bad: Annotated[float, typer.Option(help="Share of bad files to forgive.")] = DEFAULT_MAX_BAD,
    modalities: Annotated[
        str | None,
        typer.Option(help="What to read, separated by commas; else rf, gps and every sensor that the CSV has."),
    ] = None,
    radar_clutter: Annotated[
        str, typer.Option(help="What radar maps are freed of: chirp_mean, antenna_mean or none.")
    ] = "chirp_mean",
    workers: Annotated[int | None, typer.Option(help="Processes; else one a core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Import a DeepSense 6G download."""
    _refuse_url(out)
    with _progress("reading") as progress:
        summary = import_deepsense(
            csv,
            out,
            rate_hz=rate_hz,
            max_bad=max_bad,
            modalities=None if modalities is None else [name.strip() for name in modalities.split(",")],
            radar_clutter=radar_clutter,
            workers=workers,
            progress=progress,
        )
    if as_json:
        print_json(summary.as_json())
        return
    print(f"{out}: {summary.samples} samples in {summary.sequences} sequences of {summary.scenario}")
    print(f"read: {', '.join(f'{name} ({column})' for name, column in summary.columns_read.items())}")
    print(f"time: {summary.time_source}, {summary.frame_rate_hz:g} Hz{summary.time_note and f' ({summary.time_note})'}")
    for name, count in summary.bad_files.items():
        print(f"bad {name} files: {count}" + (f", the first: {summary.first_bad_file[name]}" if count else ""))
    print(f"beam labels that are not the strongest beam: {summary.beam_label_disagreements}")
    if summary.lidar_filled:
        shares = (f"{share:.1%} of the {name}" for name, share in summary.lidar_filled.items())
        print(f"lidar images hold returns in {', '.join(shares)}")
    if summary.columns_present:
        print(f"present and not read: {', '.join(summary.columns_present)}")


@commands.command()
def export(
    directory: Annotated[str, typer.Argument(help="A dataset.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    to: Annotated[str, typer.Option("--format", help="deepsense or tfrecord.")] = "deepsense",
    modalities: Annotated[str | None, typer.Option(help="What to write, separated by commas; else all.")] = None,
    name: Annotated[
        str | None, typer.Option(help="deepsense: name of the table, without .csv; else scenario32.")
    ] = None,
    challenge: Annotated[
        bool, typer.Option("--challenge", help="deepsense: write rows of five samples as well.")
    ] = False,
    scenario: Annotated[
        Path | None, typer.Option(help="deepsense: YAML file of the recordings' scenario, where it names other files.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="deepsense: processes, else 1.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a dataset as a DeepSense 6G scenario, or as TFRecords."""
    _refuse_url(out)
    chosen = None if modalities is None else [part.strip() for part in modalities.split(",")]
    if workers is not None and workers < 1:
        raise UserError(f"{workers} is too small", "--workers", "give at least 1")
    given = {"--name": name, "--challenge": challenge or None, "--scenario": scenario, "--workers": workers}
    useless = next((option for option, value in given.items() if value is not None), None)
    if to == "tfrecord" and useless:
        raise UserError("means nothing with --format tfrecord", useless, "leave it out")
    with _progress("exporting") as progress:
        if to == "tfrecord":
            from twin.recording.tfrecord import export_tfrecord

            summary: ExportSummary = export_tfrecord(directory, out, modalities=chosen, progress=progress)
        elif to == "deepsense":
            from twin.generation.remaking import raw_sensors
            from twin.recording.deepsense_export import DEFAULT_NAME, export_deepsense

            summary = export_deepsense(
                directory,
                out,
                name=DEFAULT_NAME if name is None else name,
                modalities=chosen,
                challenge=challenge,
                raw_of=partial(raw_sensors, scenario=scenario),
                workers=workers or 1,
                progress=progress,
            )
        else:
            raise UserError(f"there is no format {to!r}", "--format", "choose from deepsense, tfrecord")
    if as_json:
        print_json(summary.as_json())
        return
    print(f"{out}: {summary.samples} samples in {summary.sequences} sequences, {', '.join(summary.modalities)}")
    for modality, count in summary.missing.items():
        if count:
            print(f"{modality}: {count} frames were lost and have no file or hold NaN")
    largest = max((count / summary.samples for count in summary.missing.values()), default=0.0)
    if largest > DEFAULT_MAX_BAD:
        print(f"import it with --max-bad {math.ceil(largest * 100) / 100:g}: lost frames count as bad files")
    if summary.radar_clutter not in (None, "chirp_mean"):
        print(f"radar: import it with --radar-clutter {summary.radar_clutter} to find the same maps")


@commands.command()
def verify(
    directory: Annotated[str, typer.Argument(help="A dataset or one recording.")], as_json: AsJson = False
) -> None:
    """Read every byte of a dataset and list what is damaged (exit status 2 where anything is)."""
    with _progress("verifying") as progress:
        problems = verify_dataset(directory, progress)
    damaged = {name: found for name, found in problems.items() if found}
    if as_json:
        print_json({"recordings": len(problems), "damaged": damaged})
    else:
        print(f"{directory}: {len(problems) - len(damaged)} of {len(problems)} recordings are whole")
        for name, found in damaged.items():
            print(f"{name}: {'; '.join(found)}")
    if damaged:
        name, found = next(iter(damaged.items()))
        raise UserError(
            f"{len(damaged)} damaged, the first: {name}, {found[0]}",
            directory,
            "remove it, and make it again with --resume, or fetch it again",
        )


@commands.command()
def regress(
    names: Annotated[list[str] | None, typer.Argument(help="Scenarios; all if left out.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Rewrite expected.json.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare fixed episodes of scenarios with their expected.json (exit status 2 where they differ)."""
    from twin.regression import regress as compare_with_expected

    problems = compare_with_expected(names or (), update=update)
    changed = {name: found for name, found in problems.items() if found}
    if as_json:
        print_json({"scenarios": list(problems), "updated": update, "changed": changed})
    else:
        for name, found in problems.items():
            print(f"{name}: {'; '.join(found) or ('updated' if update else 'as expected')}")
    if changed:
        remedy = "find out why, or accept it with --update and say so in the changelog"
        raise UserError("the simulated world has changed", ", ".join(changed), remedy)


@commands.command()
def parity(
    scenes: Annotated[list[str] | None, typer.Argument(help="Scenes to compare on; all if left out.")] = None,
    receivers: Annotated[int, typer.Option(help="Receivers of each base station.")] = 200,
    carrier: Annotated[
        list[float] | None, typer.Option(help="Carrier in GHz, may be repeated; else 28 and 60.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Rewrite the tables of PARITY.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare our paths with those of Sionna RT (exit status 2 where they differ by more than the limits)."""
    from twin.propagation.parity import report

    if update and (scenes or carrier or receivers != report.RECEIVERS):
        raise UserError("the tables hold every scene and carrier", "--update", "give it alone")
    with _progress("comparing") as progress:
        found = report.compare(scenes or (), carrier or report.CARRIERS_GHZ, receivers, progress)
        if update:
            report.update(found)
    if as_json:
        print_json(report.as_json(found))
    else:
        print(report.tables(found))
    wrong = [text for comparison in found for text in comparison.problems]
    if wrong:
        what = wrong[0] + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        raise UserError(what, "parity", "see twin/propagation/PARITY.md for the differences that are known")


@commands.command()
def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="sweep, trace, generate, pipeline, moving, static, munich, memory, start, multimodal; else all."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast the twin is on this machine, beside Sionna RT where that is installed."""
    from twin.bench import bench as measure

    rates = measure(parts or (), note=lambda line: print(line, file=sys.stderr))
    if as_json:
        print_json(rates)
        return
    for name, rate in rates.items():
        print(f"{name}: " + ("not measured" if rate is None else f"{rate:,.5g}"))


def main() -> None:
    """Run the command line."""
    run_command_line(commands, "twin")


if __name__ == "__main__":
    main()
