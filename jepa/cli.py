"""The command line of the model: `jepa COMMAND --help` says what each command does."""

import ast
import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

import jepa.experiments
from jepa import workflows
from jepa.bench import bench
from jepa.config import LARGEST_SEED
from jepa.config import preset as make_preset
from jepa.evaluate import TASKS
from jepa.metrics import DBA_DELTA, DBA_K
from twin.console import print_json, run_command_line
from twin.errors import UserError

__all__ = ["commands", "main"]

commands = typer.Typer(no_args_is_help=True, add_completion=False, help="Pretraining, heads, baselines, evaluation.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Data = Annotated[list[Path], typer.Option("--data", help="Directory of recordings; may be repeated.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto takes a GPU where there is one.")]
Fold = Annotated[int, typer.Option(help="Fold of the split folds, held-out dataset of leave-one-scenario-out.")]
Kind = Annotated[str, typer.Option("--split", help="blocked, folds, paper or leave-one-scenario-out.")]
Part = Annotated[str, typer.Option("--split", help="Part to look at: val or test.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of weights, batches and masks.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value, dotted: mask.ratio=0.25. Repeatable.")]
Missing = Annotated[list[str] | None, typer.Option(help="Modality whose history is absent. Repeatable.")]
Backbone = Annotated[str, typer.Option(help="pretrained, or a control: random (weights), zeroed (output).")]


@commands.command("pretrain")
def pretrain_command(
    data: Annotated[list[Path], typer.Argument(help="Directories of recordings.")],
    out: Annotated[Path, typer.Option(help="Directory of the run.")],
    preset: Annotated[str, typer.Option(help="small, paper or best.")] = "paper",
    split: Kind = "blocked",
    fold: Fold = 0,
    seed: Seed = 0,
    settings: Settings = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from the latest checkpoint.")] = False,
) -> None:
    """Pretrain a backbone by predicting masked tokens in latent space."""
    config = make_preset(preset, [f"seed={seed}", *(settings or [])])
    workflows.pretrain_run(data, out, config, split=split, fold=fold, resume=resume, device=device)
    print(f"{out}: pretrained for {config.epochs} epochs; next: jepa heads {out} --data {data[0]}")


@commands.command("heads")
def heads_command(
    run: Annotated[Path, typer.Argument(help="Directory of a run of jepa pretrain.")],
    data: Data,
    settings: Settings = None,
    backbone: Backbone = "pretrained",
    missing: Missing = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted training stopped.")] = False,
    replace: Annotated[bool, typer.Option(help="Train anew where heads are trained already.")] = False,
) -> None:
    """Freeze the backbone and train the three heads on it."""
    workflows.heads_run(
        run,
        data,
        settings=settings or [],
        backbone=backbone,
        missing=missing or [],
        resume=resume,
        replace=replace,
        device=device,
    )
    print(f"{run}: heads trained; next: jepa evaluate {run} --data {data[0]}")


@commands.command("finetune")
def finetune_command(
    run: Annotated[Path, typer.Argument(help="Directory of a run with heads.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Directory of the adapted run.")],
    fraction: Annotated[float, typer.Option(help="Share of the training sequences to use.")] = 1.0,
    split: Kind = "blocked",
    fold: Fold = 0,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Seed of batches and of the share.")] = None,
    settings: Settings = None,
    backbone: Backbone = "pretrained",
    missing: Missing = None,
    device: Device = "auto",
) -> None:
    """Adapt a run to other data: the backbone stays frozen, its heads are trained further."""
    workflows.adapt_run(
        run,
        data,
        out,
        fraction=fraction,
        settings=settings or [],
        split=split,
        fold=fold,
        seed=seed,
        backbone=backbone,
        missing=missing or [],
        device=device,
    )
    print(f"{out}: adapted; next: jepa evaluate {out} --data {data[0]}")


@commands.command("baseline")
def baseline_command(
    name: Annotated[str, typer.Argument(help="Name of a baseline.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Directory of the run.")],
    split: Kind = "blocked",
    fold: Fold = 0,
    seed: Seed = 0,
    fraction: Annotated[float, typer.Option(help="Share of the training sequences to use.")] = 1.0,
) -> None:
    """Fit a baseline and write its predictions."""
    workflows.baseline_run(name, data, out, split=split, fold=fold, seed=seed, fraction=fraction)
    print(f"{out}: predictions of {name}; next: jepa evaluate {out} --data {data[0]}")


@commands.command("predict")
def predict_command(
    run: Annotated[Path, typer.Argument(help="Directory of a run with heads.")],
    data: Data,
    parts: Annotated[list[str] | None, typer.Option("--split", help="val, test or train. Repeatable.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Write the predictions of a run for recordings: what metrics and dashboard read."""
    episodes = workflows.predict_run(run, data, parts=parts or workflows.PREDICTED, device=device)
    if as_json:
        print_json({"run": str(run), "episodes": episodes})
    else:
        print(f"{run}: predictions for {episodes} recordings")


@commands.command("evaluate")
def evaluate_command(
    run: Annotated[Path, typer.Argument(help="Directory of a run.")],
    data: Data,
    part: Part = "test",
    backbone: Backbone = "pretrained",
    missing: Missing = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Metrics of a run on recordings that it was not trained on."""
    report = workflows.evaluate_run(run, data, part=part, backbone=backbone, missing=missing or [], device=device)
    if as_json:
        print_json(report)
        return
    print(f"{report['protocol']}, {report['split']}: {report['windows']} windows of {report['sequences']} sequences")
    if any(report["left_out"].values()):
        print(
            "left out: {invalid} windows with an invalid frame, {short} pieces too short".format(**report["left_out"])
        )
    for task in TASKS:
        for name, metric in report.get(task, {}).items():
            shown = f"{name} (k={DBA_K}, delta={DBA_DELTA})" if name == "dba" else name
            print(f"{task:<13}{shown:<24}{_interval(metric)}")
    if "representation" in report:
        for name in ("rankme", "lda_rank"):
            print(f"{'latents':<13}{name:<24}{_interval(report['representation'][name])}")
    if "beam_mismatch" in report:
        near = report["beam_mismatch"][:5]
        print(f"beams off by 0 to 4: {', '.join(f'{share:.3f}' for share in near)}; by more: {1 - sum(near):.3f}")


def _interval(metric: dict[str, Any]) -> str:
    if metric["ci95"] is None:
        return f"{metric['value']:8.4f}  (one sequence: no interval)"
    low, high = metric["ci95"]
    return f"{metric['value']:8.4f}  [{low:.4f}, {high:.4f}]"


@commands.command("experiment")
def experiment_command(
    name: Annotated[str, typer.Argument(help="Name of an experiment.")],
    out: Annotated[Path, typer.Option(help="Directory of its rows and tables.")],
    data: Annotated[list[Path] | None, typer.Option("--data", help="Directory of recordings; may be repeated.")] = None,
    budget: Annotated[str | None, typer.Option(help="How much to spend: a name the experiment knows.")] = None,
) -> None:
    """Make a table or figure: an experiment is a file of jepa/experiments that defines `run`."""
    known = _experiments()
    if name not in known:
        raise UserError(f"unknown experiment {name!r}", "jepa experiment", f"choose from {', '.join(known) or 'none'}")
    options: dict[str, Any] = {"data": data or []}
    if budget is not None:
        options["budget"] = budget
    importlib.import_module(f"{jepa.experiments.__name__}.{known[name]}").run(out=out, **options)


def _experiments() -> dict[str, str]:
    """Name on the command line and module of every experiment: a file of the package that defines `run`."""
    found = {}
    for path in sorted(Path(jepa.experiments.__path__[0]).glob("*.py")):
        defined = ast.parse(path.read_text(encoding="utf-8")).body
        if any(isinstance(part, ast.FunctionDef) and part.name == "run" for part in defined):
            found[path.stem.replace("_", "-")] = path.stem
    return found


@commands.command("bench")
def bench_command(
    preset: Annotated[str, typer.Option(help="small, paper or best.")] = "small",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Windows a second of pretraining and prediction."""
    report = bench(preset, workflows.pick_device(device))
    if as_json:
        print_json(report)
        return
    for key, value in report.items():
        print(f"{key:<24}{value}")


def main() -> None:
    """Entry point of the command `jepa`."""
    run_command_line(commands, "jepa")


if __name__ == "__main__":
    main()
