"""The command line of the twin: `twin COMMAND --help` says what each command does.

What only one command needs, and takes long to import, is imported there.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from twin.console import print_json, progress_bar, run_command_line
from twin.errors import UserError
from twin.recording import DEFAULT_MAX_BAD, DEFAULT_RATE_HZ, dataset_hash, import_deepsense, scan, verify_dataset

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


def _refuse_url(out: Path) -> None:
    """A path swallows one slash of a URL, and a local folder of that name is not what was asked for."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(out)):
        raise UserError("is a URL", out, "write to a local directory and copy it; what reads recordings takes URLs")


@commands.command()
def generate(
    scenario: Annotated[str, typer.Argument(help="Name of a scenario, or its YAML file.")],
    out: Annotated[Path, typer.Option(help="Directory to make, one recording an episode.")],
    episodes: Annotated[int, typer.Option(help="Episodes to make.")] = 1,
    frames: Annotated[int | None, typer.Option(help="Frames an episode at most; else what the scenario says.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random number.")] = 0,
    modalities: Annotated[str, typer.Option(help="What to record, separated by commas.")] = "rf,gps",
    backend: Annotated[
        str, typer.Option(help="What traces the rays: numba, or sionna (whose paths vanish behind vehicles).")
    ] = "numba",
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what OUT holds of the same request.")] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate episodes of a scenario and write their recordings."""
    from twin.generation import generate_dataset

    _refuse_url(out)
    if out.exists() and not resume:
        raise UserError("exists already", out, "choose another output, or add --resume to complete it")
    with _progress("generating") as progress:
        generate_dataset(
            scenario,
            out,
            episodes=episodes,
            frames=frames,
            seed=seed,
            modalities=[name.strip() for name in modalities.split(",")],
            backend=backend,
            workers=workers,
            progress=progress,
        )
    made = scan(out).episodes
    total, digest = sum(entry.open().frames for entry in made), dataset_hash(made)
    if as_json:
        print_json({"out": str(out), "episodes": len(made), "frames": total, "dataset_hash": digest})
    else:
        print(f"{out}: {len(made)} episodes, {total} frames, dataset {digest[:16]}")


@commands.command("import")
def import_command(
    csv: Annotated[Path, typer.Argument(help="CSV of a DeepSense 6G scenario, in its folder.")],
    out: Annotated[Path, typer.Option(help="Directory to make, one recording a sequence.")],
    rate_hz: Annotated[float, typer.Option(help="Frame rate [Hz] where the CSV has no time stamps.")] = DEFAULT_RATE_HZ,
    max_bad: Annotated[float, typer.Option(help="Share of bad files to forgive.")] = DEFAULT_MAX_BAD,
    modalities: Annotated[str, typer.Option(help="What to read, separated by commas.")] = "rf,gps",
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
            modalities=[name.strip() for name in modalities.split(",")],
            progress=progress,
        )
    if as_json:
        print_json(summary.as_json())
        return
    print(f"{out}: {summary.samples} samples in {summary.sequences} sequences of {summary.scenario}")
    print(f"time: {summary.time_source}, {summary.frame_rate_hz:g} Hz{summary.time_note and f' ({summary.time_note})'}")
    for name, count in summary.bad_files.items():
        print(f"bad {name} files: {count}" + (f", the first: {summary.first_bad_file[name]}" if count else ""))
    print(f"beam labels that are not the strongest beam: {summary.beam_label_disagreements}")
    if summary.columns_present:
        print(f"present and not read: {', '.join(summary.columns_present)}")


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
        raise UserError(f"{len(damaged)} damaged, the first: {name}, {found[0]}", directory, "make or fetch it again")


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
        typer.Argument(help="sweep, trace, generate, pipeline, moving, static, munich, memory, start; else all."),
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
