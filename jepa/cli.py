"""The command line of the model: `jepa COMMAND --help` says what each command does."""

import ast
import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import jepa.experiments
from jepa import workflows
from jepa.config import LARGEST_SEED, load_config, settings_of
from jepa.config import preset as make_preset
from jepa.data.frames import IMAGE_SIZE
from jepa.evaluation.evaluate import BY_SPECTRUM, TASKS
from jepa.evaluation.metrics import DBA_DELTA, DBA_K
from jepa.paradigms.pretraining import plan_of
from jepa.training.parallel import one_voice, process_count
from twin.console import print_json, run_command_line
from twin.errors import UserError

__all__ = ["commands", "main"]

commands = typer.Typer(no_args_is_help=True, add_completion=False)

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
Dropped = Annotated[list[str] | None, typer.Option(help="Modality that drops out at run time. Repeatable.")]
Cascade = Annotated[
    bool | None,
    typer.Option("--cascade/--no-cascade", help="Heads with or without the cascade; by default as the run has it."),
]


def _next(command: str, run: Path, data: Sequence[Path], device: str, options: Sequence[str] = ()) -> str:
    """What to call next, ready to be pasted."""
    named = [part for path in data for part in ("--data", str(path))]
    placed = [] if device == "auto" else ["--device", device]
    return "next: " + shlex.join(["jepa", command, str(run), *named, *options, *placed])


@commands.callback()
def check_processes(context: typer.Context) -> None:
    """Pretraining, heads, baselines, evaluation."""
    processes = process_count()
    if processes > 1 and context.invoked_subcommand != "pretrain":
        what = f"runs in one process, and {processes} were started"
        raise UserError(what, f"jepa {context.invoked_subcommand}", "start it without torchrun")


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
    start: Annotated[
        Path | None, typer.Option(help="A run whose backbone is trained further, on other data say.")
    ] = None,
) -> None:
    """Pretrain a backbone by predicting masked tokens in latent space, or as --set paradigm=... says."""
    config = make_preset(preset, [f"seed={seed}", *(settings or [])])
    workflows.pretrain_run(data, out, config, split=split, fold=fold, resume=resume, device=device, start=start)
    done, then = ("trained with its heads", "evaluate") if config.supervised else ("pretrained", "heads")
    call = _next(then, out, data, device, workflows.heads_options(config.heads, config))
    print(f"{out}: {done} for {plan_of(config).epochs} epochs; {call}")


@commands.command("settings")
def settings_command(
    preset: Annotated[str, typer.Option(help="small, paper or best.")] = "paper",
) -> None:
    """List what --set takes, with the value that a preset has for it."""
    print(
        "\n".join(
            f"{key}={value}{f'  # {told}' if told else ''}" for key, value, told in settings_of(make_preset(preset))
        )
    )


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
    heads = workflows.heads_run(
        run,
        data,
        settings=settings or [],
        backbone=backbone,
        missing=missing or [],
        resume=resume,
        replace=replace,
        device=device,
    )
    options = workflows.heads_options(heads, load_config(run / "config.yaml"))
    print(f"{run}: heads trained; {_next('evaluate', run, data, device, options)}")


@commands.command("finetune")
def finetune_command(
    run: Annotated[Path, typer.Argument(help="Directory of a run with heads.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Directory of the adapted run.")],
    fraction: Annotated[float, typer.Option(help="Share of the training sequences to use.")] = 1.0,
    drives: Annotated[int | None, typer.Option(help="Number of training sequences, in place of a share.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps, in place of heads.epochs.")] = None,
    unfreeze: Annotated[
        bool, typer.Option("--unfreeze", help="Train the backbone along, by heads.backbone_learning_rate.")
    ] = False,
    split: Kind = "blocked",
    fold: Fold = 0,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Seed of batches and of the share.")] = None,
    settings: Settings = None,
    backbone: Backbone = "pretrained",
    missing: Missing = None,
    cascade: Cascade = None,
    device: Device = "auto",
) -> None:
    """Adapt a run to other data: its heads are trained further, the backbone stays frozen unless --unfreeze."""
    workflows.adapt_run(
        run,
        data,
        out,
        fraction=fraction,
        drives=drives,
        steps=steps,
        unfreeze=unfreeze,
        settings=settings or [],
        split=split,
        fold=fold,
        seed=seed,
        backbone=backbone,
        missing=missing or [],
        cascade=cascade,
        device=device,
    )
    made = load_config(out / "config.yaml")
    print(f"{out}: adapted; {_next('evaluate', out, data, device, workflows.heads_options(made.heads, made))}")


@commands.command("baseline")
def baseline_command(
    name: Annotated[str, typer.Argument(help="Name of a baseline.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Directory of the run.")],
    split: Kind = "blocked",
    fold: Fold = 0,
    seed: Seed = 0,
    fraction: Annotated[float, typer.Option(help="Share of the training sequences to use.")] = 1.0,
    image_size: Annotated[
        int, typer.Option(min=32, max=IMAGE_SIZE, help="Side of pictures, where it reads any.")
    ] = IMAGE_SIZE,
    picture_weights: Annotated[
        Path | None,
        typer.Option(help="Published weights of its picture network (vision_position, m2beamllm), a safetensors file."),
    ] = None,
    language_weights: Annotated[
        Path | None, typer.Option(help="Directory with GPT-2 in the layout of Hugging Face (m2beamllm).")
    ] = None,
    device: Device = "auto",
) -> None:
    """Fit a baseline and write its predictions."""
    named = {"picture_weights": picture_weights, "language_weights": language_weights}
    workflows.baseline_run(
        name,
        data,
        out,
        split=split,
        fold=fold,
        seed=seed,
        fraction=fraction,
        image_size=image_size,
        weights={key: path for key, path in named.items() if path is not None},
        device=device,
    )
    print(f"{out}: predictions of {name}; {_next('evaluate', out, data, 'auto')}")


@commands.command("predict")
def predict_command(
    run: Annotated[Path, typer.Argument(help="Directory of a run with heads.")],
    data: Data,
    parts: Annotated[list[str] | None, typer.Option("--split", help="val, test or train. Repeatable.")] = None,
    backbone: Backbone = "pretrained",
    missing: Missing = None,
    dropped: Dropped = None,
    cascade: Cascade = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Write the predictions of a run for recordings: what the dashboard reads.

    A run keeps one set for each dataset: predictions of other heads, or with --dropped, replace those that are there.
    """
    episodes = workflows.predict_run(
        run,
        data,
        parts=parts or workflows.PREDICTED,
        backbone=backbone,
        missing=missing or [],
        dropped=dropped or [],
        cascade=cascade,
        device=device,
    )
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
    dropped: Dropped = None,
    cascade: Cascade = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Metrics of a run on recordings that it was not trained on."""
    report = workflows.evaluate_run(
        run,
        data,
        part=part,
        backbone=backbone,
        missing=missing or [],
        dropped=dropped or [],
        cascade=cascade,
        device=device,
    )
    if as_json:
        print_json(report)
        return
    print(f"{report['protocol']}, {report['split']}: {report['windows']} windows of {report['sequences']} sequences")
    if any(report["left_out"].values()):
        print(
            "left out: {invalid} windows with an invalid frame, {short} pieces too short".format(**report["left_out"])
        )
    for task in (*TASKS, BY_SPECTRUM):
        for name, metric in report.get(task, {}).items():
            shown = f"{name} (k={DBA_K}, delta={DBA_DELTA})" if name == "dba" else name
            print(f"{task:<18}{shown:<24}{_interval(metric)}")
    if "representation" in report:
        for name in ("rankme", "lda_rank"):
            print(f"{'latents':<18}{name:<24}{_interval(report['representation'][name])}")
    if "beam_mismatch" in report:
        near = report["beam_mismatch"][:5]
        print(f"beams off by 0 to 4: {', '.join(f'{share:.3f}' for share in near)}; by more: {1 - sum(near):.3f}")


def _interval(metric: dict[str, Any]) -> str:
    if metric["ci95"] is None:
        return f"{metric['value']:8.4f}  (one sequence: no interval)"
    low, high = metric["ci95"]
    return f"{metric['value']:8.4f}  [{low:.4f}, {high:.4f}]"


@commands.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="Directory of a run with heads.")],
    out: Annotated[Path, typer.Option(help="Directory of the exported model.")],
    format: Annotated[str, typer.Option(help="torch (model.pt2) or onnx (model.onnx).")] = "torch",
    dataset: Annotated[str | None, typer.Option(help="Whose statistics, where the run has those of several.")] = None,
    missing: Missing = None,
    cascade: Cascade = None,
    as_json: AsJson = False,
) -> None:
    """Write normalisation, backbone and heads as one module from raw frames to predictions."""
    from jepa.inference.export import export_run

    made = export_run(run, out, format, dataset=dataset, missing=tuple(missing or ()), cascade=cascade)
    if as_json:
        print_json(made)
        return
    print(f"{out / made['file']}: reads {', '.join(made['inputs'])}; {out / 'manifest.json'} says in which units")


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
    parts: Annotated[
        list[str] | None, typer.Argument(help="pretrain, predict, train-step, inference; else all.")
    ] = None,
    preset: Annotated[str, typer.Option(help="small, paper or best: of the parts pretrain and predict.")] = "small",
    device: Device = "auto",
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the transformers; on a GPU by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast training and prediction are, beside the same model written plainly."""
    from jepa.bench import bench

    place = workflows.pick_device(device)
    report = bench(parts or (), preset, place, compiled=compiled, note=lambda line: print(line, file=sys.stderr))
    if as_json:
        print_json(report)
        return
    for key, value in report.items():
        print(f"{key:<26}{value}")


def main() -> None:
    """Entry point of the command `jepa`."""
    with one_voice():
        run_command_line(commands, "jepa")


if __name__ == "__main__":
    main()
