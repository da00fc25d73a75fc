"""Pretraining as a run: stopped anywhere it resumes to the bit; damage and a full disk are a line."""

import errno
import shutil

import pytest
import torch
from safetensors import SafetensorError

import jepa.training.checkpoint
from jepa import workflows
from jepa.config import preset
from jepa.data.frames import FrameStore
from jepa.runs.directory import open_run
from twin.errors import UserError


def files_of(run):
    """The weights and the log of a run."""
    weights, _ = jepa.training.checkpoint.load_checkpoint(run / "checkpoints")
    return weights, (run / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("stage", ["tensors", "manifest", "rename", "pointer"])
@pytest.mark.parametrize("checkpoint", [0, 1, 2])
def test_stopped_anywhere_in_a_checkpoint_write_it_resumes_bit_for_bit(
    tiny, dataset, run, tmp_path, monkeypatch, stage, checkpoint
):
    calls = {"count": 0}

    def stop_at(original, matches):
        def stopped(*args, **kwargs):
            if matches(*args):
                calls["count"] += 1
                if calls["count"] == checkpoint + 1:
                    raise KeyboardInterrupt
            return original(*args, **kwargs)

        return stopped

    path = type(tmp_path)
    with monkeypatch.context() as patch:
        if stage == "tensors":
            patch.setattr(
                jepa.training.checkpoint, "save_file", stop_at(jepa.training.checkpoint.save_file, lambda *_: True)
            )
        elif stage == "manifest":
            patch.setattr(path, "write_text", stop_at(path.write_text, lambda p, *_: p.name == "manifest.json"))
        elif stage == "rename":
            patch.setattr(path, "rename", stop_at(path.rename, lambda p, *_: p.name.startswith(".step-")))
        else:
            patch.setattr(path, "replace", stop_at(path.replace, lambda p, *_: p.name == ".latest.partial"))
        with pytest.raises(KeyboardInterrupt):
            workflows.pretrain_run([dataset], tmp_path / "cut", tiny(), device="cpu", label="")
    workflows.pretrain_run([dataset], tmp_path / "cut", tiny(), device="cpu", label="", resume=True)
    (whole, whole_log), (cut, cut_log) = files_of(run), files_of(tmp_path / "cut")
    assert whole_log == cut_log
    assert whole.keys() == cut.keys()
    assert all(torch.equal(values, cut[name]) for name, values in whole.items())


def test_resuming_a_run_of_another_preset_is_a_users_error(tiny, dataset, run):
    with pytest.raises(UserError, match="was made with preset small"):
        workflows.pretrain_run([dataset], run, preset("paper"), device="cpu", label="", resume=True)
    with pytest.raises(UserError, match="differs in batch_size"):
        workflows.pretrain_run([dataset], run, tiny("batch_size=16"), device="cpu", label="", resume=True)
    with pytest.raises(UserError, match="another split"):
        workflows.pretrain_run([dataset], run, tiny(), split="folds", device="cpu", label="", resume=True)
    with pytest.raises(UserError, match="exists"):
        workflows.pretrain_run([dataset], run, tiny(), device="cpu", label="")


def test_nothing_is_written_for_a_wrong_configuration(tiny, dataset, tmp_path):
    with pytest.raises(UserError):
        workflows.pretrain_run([dataset], tmp_path / "run", tiny("mask.kinds={stripes: 1}"), device="cpu", label="")
    assert not (tmp_path / "run").exists()


def test_a_readout_that_does_not_fit_the_width_is_refused_before_pretraining(tiny, dataset, tmp_path):
    config = tiny("model.width=12", "model.attention_heads=4", "heads.readout=attentive")
    with pytest.raises(UserError, match="do not divide a width of 12"):
        workflows.pretrain_run([dataset], tmp_path / "run", config, device="cpu", label="")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["", "garbage\n"])
def test_a_damaged_pointer_to_the_latest_checkpoint_is_a_users_error(tiny, dataset, run, tmp_path, content):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "checkpoints" / "latest").write_text(content)
    for attempt in (
        lambda: workflows.evaluate_run(copied, [dataset], device="cpu"),
        lambda: workflows.pretrain_run([dataset], copied, tiny(), device="cpu", label="", resume=True),
    ):
        with pytest.raises(UserError, match=r"latest.*step-"):
            attempt()


def test_a_damaged_recording_stops_training_and_is_named(tmp_path, drive):
    for number in range(10):
        drive(number).save(tmp_path / "data")
    (tmp_path / "data" / "seq-0004" / "manifest.json").write_text('{"schema')
    with pytest.raises(UserError, match=r"damaged recordings \(1\), the first seq-0004"):
        FrameStore.load([tmp_path / "data"])


def test_weights_that_the_disk_has_no_room_for_are_a_users_error(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(jepa.training.checkpoint, "save_file", full)
    with pytest.raises(UserError, match="No space left"):
        jepa.training.checkpoint.save_tensors(tmp_path / "weights", {"a": torch.zeros(3)}, {})
    assert not list(tmp_path.iterdir())


def test_a_new_run_that_the_disk_has_no_room_for_leaves_nothing(tiny, dataset, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jepa.training.loop.save_checkpoint", full)
    with pytest.raises(OSError, match="No space") as error:
        workflows.pretrain_run([dataset], tmp_path / "new/run", tiny(), label="")
    assert error.value.filename == str(tmp_path / "new/run")
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_goes_on_from_another_on_other_data(tiny, dataset, tmp_path, drive):
    """Pretrained on one dataset, then on it and another whose windows are repeated; both are remembered."""
    for number in range(10):
        drive(number, seed=5).save(tmp_path / "other")
    levels = ["objective.target_levels=[0, 1]", "objective.error=squared", "model.tokenizers=frozen"]
    first, second = tmp_path / "first", tmp_path / "second"
    workflows.pretrain_run([dataset], first, tiny(*levels), device="cpu", label="")
    both = tiny(*levels, "first_share=0.7", "inputs.normalise=by-dataset")
    workflows.pretrain_run([dataset, tmp_path / "other"], second, both, start=first, device="cpu", label="")
    (old, _), (new, _) = files_of(first), files_of(second)
    tokenizer = "model.context.embedding.tokenizers.rf.0.weight"
    assert torch.equal(old[tokenizer], new[tokenizer]), "frozen as drawn"
    assert not torch.equal(old["model.out.weight"], new["model.out.weight"])
    assert len(open_run(second).trained) == 7 + 14
    for data, split, message in (
        ([dataset], "blocked", "only the first dataset has training windows"),
        ([dataset, tmp_path / "other"], "leave-one-scenario-out", "the first dataset has no training window"),
    ):
        with pytest.raises(UserError, match=f"^first_share: {message}"):
            workflows.pretrain_run(data, tmp_path / "third", both, split=split, device="cpu", label="")
    other = tiny("model.tokenizers=frozen")
    with pytest.raises(UserError, match="predicts other levels"):
        workflows.pretrain_run([dataset], tmp_path / "third", other, start=first, device="cpu", label="")
    assert not (tmp_path / "third").exists()
