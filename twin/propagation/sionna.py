"""Sionna RT as the second backend: the same bodies, the same receivers, the same `Paths`.

Solved on whatever Dr.Jit finds: CUDA, or LLVM on the CPU. Geometry is float32 there. Movers are moved by one batched
update a frame. Receivers are solved in small groups: in large ones, candidates collide in the solver's hash table and
paths are lost."""

import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from twin.errors import UserError
from twin.geometry.facets import Body, facets_of
from twin.propagation.movers import Movers
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Interaction, Paths

__all__ = ["DEFAULT_SAMPLES", "RECEIVERS_A_SOLVE", "SionnaTracer", "find_llvm", "load_sionna"]

RECEIVERS_A_SOLVE = 16
"""Receivers solved together."""
DEFAULT_SAMPLES = 1_000_000
"""Rays launched a solve."""
OLDEST_LLVM = 16
_LLVM_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/opt/llvm/lib")
_ABSENT_M = (0.0, 0.0, -1e5)
"""Where an absent mover's vertices are gathered [m]: triangles without area are never hit."""


def find_llvm(folders: Sequence[str] = _LLVM_FOLDERS) -> Path | None:
    """The newest LLVM library from version 16 on; older ones do not compile Dr.Jit's kernels."""
    found: dict[int, Path] = {}
    for folder in folders:
        for pattern in ("*/libLLVM*.so*", "libLLVM*.so*", "llvm-*/lib/libLLVM*.so*", "libLLVM*.dylib"):
            for path in sorted(Path(folder).glob(pattern)):
                version = re.search(r"libLLVM[-.](?:so\.)?(\d+)", path.resolve().name)
                if version and int(version[1]) >= OLDEST_LLVM:
                    found.setdefault(int(version[1]), path.resolve())
    return found[max(found)] if found else None


def load_sionna() -> ModuleType:
    """The package sionna.rt, with an LLVM that works chosen before it is imported.

    Raises:
        UserError: Sionna RT is not installed, or neither a GPU nor an LLVM library is there.
    """
    if importlib.util.find_spec("sionna") is None or importlib.util.find_spec("sionna.rt") is None:
        raise UserError("Sionna RT is not installed", "backend sionna", "pip install 'jepa-msac-twin[sionna]'")
    if "DRJIT_LIBLLVM_PATH" not in os.environ:
        library = find_llvm()
        if library is not None:
            os.environ["DRJIT_LIBLLVM_PATH"] = str(library)
    import drjit
    import sionna.rt

    if not (drjit.has_backend(drjit.JitBackend.LLVM) or drjit.has_backend(drjit.JitBackend.CUDA)):
        raise UserError(
            f"Sionna RT needs a GPU or an LLVM library of version {OLDEST_LLVM} or newer",
            "backend sionna",
            "install one (Debian: apt-get install libllvm19)",
        )
    return sionna.rt


class SionnaTracer:
    """Paths from a base station by `sionna.rt`: see `twin.propagation.tracer.Tracer` for the arguments.

    Args:
        samples: rays launched a solve.
        diffraction: whether single edges diffract.
        refraction: whether rays go through walls.

    Raises:
        UserError: Sionna RT or LLVM is missing.
    """

    def __init__(
        self,
        bodies: Sequence[Body],
        bs_position_m: np.ndarray,
        carrier_hz: float,
        shapes: Sequence[Body] = (),
        order: int = 2,
        max_paths: int = 12,
        samples: int = DEFAULT_SAMPLES,
        diffraction: bool = False,
        receivers_a_solve: int = RECEIVERS_A_SOLVE,
    ) -> None:
        self.rt = load_sionna()
        import mitsuba

        self.mi: Any = mitsuba
        self.bodies, self.shapes = tuple(bodies), tuple(shapes)
        self.bs_m = np.array(bs_position_m, np.float64)
        self.order, self.max_paths, self.samples, self.diffraction = order, max_paths, samples, diffraction
        self.wavelength_m = SPEED_OF_LIGHT_MPS / carrier_hz
        self.receivers_a_solve = receivers_a_solve
        self._facet_of = [facets_of(body).of_triangle for body in (*bodies, *shapes)]
        self.scene = self.rt.load_scene()
        self.scene.frequency = carrier_hz
        self.scene.bandwidth = 1e6
        for side in ("tx_array", "rx_array"):
            array = self.rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="VH")
            setattr(self.scene, side, array)
        self._materials: dict[Any, Any] = {}
        self._body_of_object: dict[int, tuple[int, int]] = {}
        self._slots: dict[tuple[int, int], tuple[Any, str]] = {}
        objects = [self._object(f"body-{n}", body) for n, body in enumerate(bodies)]
        self.scene.edit(add=objects)
        for number, thing in enumerate(objects):
            self._body_of_object[int(thing.object_id)] = (number, number)
        self.scene.add(self.rt.Transmitter("bs", position=self.bs_m.tolist()))
        self._receivers: list[Any] = []
        self.solver = self.rt.PathSolver()

    def _object(self, name: str, body: Body) -> Any:
        """A Sionna object of a body, its faces in the body's order."""
        mesh = self.mi.Mesh(name, len(body.vertex_m), len(body.face))
        parameters = self.mi.traverse(mesh)
        parameters["vertex_positions"] = np.ascontiguousarray(body.vertex_m, np.float32).ravel()
        parameters["faces"] = np.ascontiguousarray(body.face, np.uint32).ravel()
        parameters.update()
        return self.rt.SceneObject(
            mi_mesh=mesh, name=name, radio_material=self._material(body), remove_duplicate_vertices=False
        )

    def _material(self, body: Body) -> Any:
        if body.material not in self._materials:
            material = body.material
            self._materials[material] = self.rt.RadioMaterial(
                f"material-{len(self._materials)}",
                thickness=material.thickness_m if np.isfinite(material.thickness_m) else 100.0,
                relative_permittivity=material.relative_permittivity,
                conductivity=material.conductivity_s_per_m,
                scattering_coefficient=material.scattering_coefficient,
            )
        return self._materials[body.material]

    def paths(
        self,
        ue_position_m: np.ndarray,
        ue_velocity_mps: np.ndarray | None = None,
        movers: Movers | None = None,
        ue_mover: int | None = None,
    ) -> Paths:
        """Paths of every frame and receiver: see `Tracer.paths`. The UE's own body is left out of the scene."""
        single = ue_position_m.ndim == 2
        ue = ue_position_m[:, None] if single else ue_position_m
        velocity = np.zeros_like(ue) if ue_velocity_mps is None else ue_velocity_mps.reshape(ue.shape)
        movers = movers or Movers.none(len(ue))
        if ue_mover is not None:
            shape = movers.shape.copy()
            shape[:, ue_mover] = -1
            movers = replace(movers, shape=shape)
        found: list[dict[str, np.ndarray]] = []
        for t in range(len(ue)):
            self.move(movers, t)
            for first in range(0, ue.shape[1], self.receivers_a_solve):
                part = slice(first, first + self.receivers_a_solve)
                self.place_receivers(ue[t, part], velocity[t, part])
                found.extend(self._read(self.solve()))
        return self._as_paths(found, ue.shape[:1] if single else ue.shape[:2])

    def move(self, movers: Movers, frame: int) -> None:
        """Put the movers where they are in a frame, all in one update."""
        self._add_missing(movers)
        if not self._slots:
            return
        parameters = self.scene.mi_scene_params
        for (slot, shape), (thing, key) in self._slots.items():
            body = self.shapes[shape]
            if movers.shape[frame, slot] == shape:
                x, y, z, heading = movers.pose[frame, slot]
                c, s = np.cos(heading), np.sin(heading)
                place = body.vertex_m @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [x, y, z]
                if movers.velocity_mps[frame, slot].any():
                    thing.velocity = movers.velocity_mps[frame, slot].tolist()
            else:
                place = np.broadcast_to(_ABSENT_M, body.vertex_m.shape)
            parameters[key] = np.ascontiguousarray(place, np.float32).ravel()
        parameters.update()

    def _add_missing(self, movers: Movers) -> None:
        """One object for every slot and every shape that it ever has."""
        wanted = {
            (slot, int(shape)) for slot in range(movers.shape.shape[1]) for shape in np.unique(movers.shape[:, slot])
        }
        new = sorted(pair for pair in wanted if pair[1] >= 0 and pair not in self._slots)
        if not new:
            return
        things = [self._object(f"mover-{slot}-{shape}", self.shapes[shape]) for slot, shape in new]
        self.scene.edit(add=things)
        for (slot, shape), thing in zip(new, things, strict=True):
            self._slots[slot, shape] = (thing, f"{thing.mi_mesh.id()}.vertex_positions")
            number = len(self.bodies)
            self._body_of_object[int(thing.object_id)] = (number + slot, number + shape)

    def place_receivers(self, position_m: np.ndarray, velocity_mps: np.ndarray) -> None:
        """Have as many receivers as there are positions, there."""
        while len(self._receivers) > len(position_m):
            self.scene.remove(self._receivers.pop().name)
        while len(self._receivers) < len(position_m):
            receiver = self.rt.Receiver(f"ue-{len(self._receivers)}", position=[0.0, 0.0, 0.0])
            self.scene.add(receiver)
            self._receivers.append(receiver)
        for receiver, position, velocity in zip(self._receivers, position_m, velocity_mps, strict=True):
            receiver.position = [float(v) for v in position]
            receiver.velocity = [float(v) for v in velocity]

    def solve(self) -> Any:
        """The solver's own result for the receivers as they are."""
        return self.solver(
            self.scene,
            max_depth=self.order,
            samples_per_src=self.samples,
            synthetic_array=True,
            los=True,
            specular_reflection=self.order > 0,
            diffuse_reflection=False,
            refraction=False,
            diffraction=self.diffraction,
        )

    def _read(self, solved: Any) -> list[dict[str, np.ndarray]]:
        """Valid paths of each receiver, strongest first."""
        valid = np.array(solved.valid)[:, 0]
        real, imaginary = (np.array(part)[:, :, 0] for part in solved.a)
        arrays = {
            "transfer": np.moveaxis(real + 1j * imaginary, -1, 1),
            "tau": np.array(solved.tau)[:, 0],
            "aod": np.stack([np.array(solved.phi_t)[:, 0], np.array(solved.theta_t)[:, 0]], -1),
            "aoa": np.stack([np.array(solved.phi_r)[:, 0], np.array(solved.theta_r)[:, 0]], -1),
            "doppler": np.array(solved.doppler)[:, 0],
            "interaction": np.moveaxis(np.array(solved.interactions)[:, :, 0], 0, -1),
            "object": np.moveaxis(np.array(solved.objects)[:, :, 0], 0, -1),
            "primitive": np.moveaxis(np.array(solved.primitives)[:, :, 0], 0, -1),
            "vertex": np.moveaxis(np.array(solved.vertices)[:, :, 0], 0, -2),
        }
        found = []
        for receiver in range(len(valid)):
            rows = np.flatnonzero(valid[receiver])
            strength = (np.abs(arrays["transfer"][receiver, rows]) ** 2).sum((-2, -1))
            rows = rows[np.argsort(-strength, kind="stable")][: self.max_paths]
            found.append({name: array[receiver, rows] for name, array in arrays.items()})
        return found

    def _as_paths(self, found: list[dict[str, np.ndarray]], links: tuple[int, ...]) -> Paths:
        count, bounces = len(found), max(self.order, 1)
        shape = (count, self.max_paths)
        kind = np.full((*shape, bounces), Interaction.NO_PATH, np.int8)
        body, facet = np.full((*shape, bounces), -1, np.int32), np.full((*shape, bounces), -1, np.int32)
        vertices = np.full((*shape, bounces, 3), np.nan)
        transfer, valid = np.zeros((*shape, 2, 2), np.complex128), np.zeros(shape, bool)
        delay_s, doppler_hz = np.zeros(shape), np.zeros(shape)
        aod_rad, aoa_rad = np.zeros((*shape, 2)), np.zeros((*shape, 2))
        code = {
            0: Interaction.NONE,
            int(self.rt.InteractionType.SPECULAR): Interaction.REFLECTION,
            int(self.rt.InteractionType.DIFFRACTION): Interaction.DIFFRACTION,
            int(self.rt.InteractionType.DIFFUSE): Interaction.SCATTERING,
        }
        for link, rows in enumerate(found):
            number = len(rows["tau"])
            valid[link, :number] = True
            delay_s[link, :number], doppler_hz[link, :number] = rows["tau"], rows["doppler"]
            aod_rad[link, :number], aoa_rad[link, :number] = rows["aod"], rows["aoa"]
            phase = np.exp(-2j * np.pi * SPEED_OF_LIGHT_MPS / self.wavelength_m * rows["tau"].astype(np.float64))
            transfer[link, :number] = rows["transfer"] * phase[:, None, None]
            for path in range(number):
                kind[link, path] = Interaction.NONE
                for k, what in enumerate(rows["interaction"][path]):
                    kind[link, path, k] = code[int(what)]
                    if what:
                        number_of, shape_of = self._body_of_object[int(rows["object"][path, k])]
                        body[link, path, k] = number_of
                        facet[link, path, k] = self._facet_of[shape_of][int(rows["primitive"][path, k])]
                        vertices[link, path, k] = rows["vertex"][path, k]
        direct = valid & (kind.max(axis=-1) == Interaction.NONE)

        def shaped(array: np.ndarray) -> np.ndarray:
            return array.reshape(*links, *array.shape[1:])

        return Paths(
            transfer=shaped(transfer.astype(np.complex64)),
            gain=shaped(transfer[..., 0, 0].astype(np.complex64)),
            delay_s=shaped(delay_s),
            aod_rad=shaped(aod_rad),
            aoa_rad=shaped(aoa_rad),
            doppler_hz=shaped(doppler_hz),
            kind=shaped(kind),
            body=shaped(body),
            facet=shaped(facet),
            vertices_m=shaped(vertices),
            blockage_db=shaped(np.zeros(shape)),
            valid=shaped(valid),
            line_of_sight=shaped(direct.any(axis=-1)),
            blocked=shaped(np.zeros(count, bool)),
            enclosed=shaped(np.zeros(count, bool)),
        )
