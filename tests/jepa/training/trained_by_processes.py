"""Not a test: what `test_parallel.py` has one process do, and two under torchrun.

Writes under a directory the gradients of a batch and the weights of some pretrainings, by process, and their logs. As a
program it calls the command at the end, with a batch that does not divide.
"""

import sys
from pathlib import Path

import torch

from jepa import cli, workflows
from jepa.config import preset
from jepa.data.inputs import WindowInputs
from jepa.data.windows import T_WINDOW
from jepa.paradigms.objectives import pretraining_loss
from jepa.paradigms.pretraining import new_model, pretrain
from jepa.tokens.masking import draw_mask
from jepa.training.parallel import joined
from twin.errors import UserError

TINY = ["model.width=16", "model.attention_heads=2", "model.encoder_layers=1", "model.predictor_layers=1", "group=4"]
OF_MAPS = [*TINY, "inputs.modalities=[radar, gps, rf]", "batch_size=16", "epochs=3"]
NOISE = "objective.input_noise={radar: 0.3, rf: 0.2}"
CASES = {
    "frozen": [*OF_MAPS, NOISE, "model.batch_norm=frozen"],
    "independent": [*OF_MAPS, NOISE, "model.batch_norm=frozen", "group=1", "mask.kinds={random: 1}"],
    "hidden": [*OF_MAPS, "model.batch_norm=frozen", "mask.kinds={joint-future-missing: 1}"],
    "trained": [*OF_MAPS, "model.batch_norm=trained"],
}
RUN = [*TINY, "batch_size=32", "epochs=16"]


def windows():
    """Overlapping windows of small maps, positions and powers that change slowly."""
    generator = torch.Generator().manual_seed(0)
    time, row = torch.arange(80)[:, None], torch.arange(16)[:, None]
    maps = torch.sin(time[:, :, None] / 9 + row / 5) + torch.randn(80, 16, 32, generator=generator)
    frames = {
        "radar": maps.half(),
        "gps": torch.cat([time / 40 - 1, torch.cos(time / 20)], 1),
        "rf": torch.sin(time / 7 + torch.arange(64) / 10) + 0.1 * torch.randn(80, 64, generator=generator),
    }
    return WindowInputs(frames, torch.arange(56)[:, None] + torch.arange(T_WINDOW))


def gradients(given, processes):
    """The gradient of the loss of one batch."""
    config = preset("small", CASES["frozen"])
    model, rows, generator = new_model(config).train(), torch.arange(24), torch.Generator().manual_seed(5)
    hidden = draw_mask(model.layout, len(rows), {"temporal-block": 1.0}, 0.5, generator)
    inputs = given.whole(processes.share(rows), model.layout.modalities)
    share = processes.share(hidden), config.objective, generator, processes, given.index[rows]
    pretraining_loss(model, inputs, *share)[0].backward()
    processes.average(model)
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def main(place, dataset):
    """Do all of it."""
    given = windows()
    with joined(torch.device("cpu")) as processes:
        torch.save(gradients(given, processes), place / f"gradients-{processes.rank}.pt")
        for name, case in CASES.items():
            (place / name).mkdir(exist_ok=True)
            model = pretrain(given, preset("small", case), run=place / name, label="", processes=processes)
            torch.save(model.state_dict(), place / f"{name}-{processes.rank}.pt")

        turn = place / "turn"
        after_another = processes.in_turn(lambda: turn.exists() or turn.touch())
        (place / f"turn-{processes.rank}").write_text(str(after_another))

        def fail():
            if processes.rank:
                raise UserError("is broken", "another process", "mend it")

        try:
            processes.together(fail)
        except UserError as error:
            (place / f"error-{processes.rank}").write_text(str(error))
    workflows.pretrain_run([dataset], place / "run", preset("small", RUN), device="cpu", label="")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    options = ["--out", sys.argv[1] + "/refused", "--preset", "small", "--device", "cpu", "--set", "batch_size=33"]
    sys.argv = ["jepa", "pretrain", sys.argv[2], *options]
    cli.main()
