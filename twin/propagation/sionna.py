"""Sionna RT as the second backend: the same bodies, the same receivers, the same `Paths`.

Solved on whatever Dr.Jit finds: CUDA, or LLVM on the CPU. Geometry is float32 there. Movers are moved by one batched
update a frame. Receivers are solved in small groups, with a large hash table: chains of facets that collide in it are
lost, and the more of them the more receivers share it. Sionna says that the direct path is hidden; whether a vehicle
or a solid around the receiver does it (`blocked`, `enclosed`) is asked of the numba tracer."""

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from twin.console import standard_error_closed
from twin.errors import UserError
from twin.geometry.facets import Body
from twin.propagation.materials import VACUUM_PERMITTIVITY, RadioMaterial
from twin.propagation.movers import Movers
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Interaction, Paths
from twin.propagation.tracer import Tracer, checked_limits

__all__ = ["DEFAULT_SAMPLES", "RECEIVERS_A_SOLVE", "SionnaTracer", "find_llvm", "load_sionna"]

RECEIVERS_A_SOLVE = 16
"""Receivers solved together."""
DEFAULT_SAMPLES = 1_000_000
"""Rays launched a solve."""
HASH_SLOTS = 64_000_000
"""Slots of the table in which the solver marks the chains that each receiver has had, 8 bytes each. A chain whose slot
is taken is lost; Sionna's own million loses one path in a hundred of a city."""
OLDEST_LLVM = 16
ABSORBED_NEPER = 20.0
"""Loss of a wave through the layer that stands for a half space and back."""
LEAST_LOSS = 1e-3
"""Im / Re of the refractive index of that layer, at least: Sionna's float32 root sees no smaller imaginary part."""
_Found = dict[str, np.ndarray]
"""Arrays of the paths of one receiver."""
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
        UserError: Sionna RT is not installed, or neither a GPU nor an LLVM library is there, or TensorFlow was imported
            before, after which Dr.Jit's import ends the process.
    """
    if importlib.util.find_spec("sionna") is None or importlib.util.find_spec("sionna.rt") is None:
        raise UserError("Sionna RT is not installed", "backend sionna", "pip install 'jepa-msac-twin[sionna]'")
    if "tensorflow" in sys.modules and "drjit" not in sys.modules:
        raise UserError("cannot be loaded after TensorFlow", "backend sionna", "run it in a process of its own")
    if "DRJIT_LIBLLVM_PATH" not in os.environ:
        library = find_llvm()
        if library is not None:
            os.environ["DRJIT_LIBLLVM_PATH"] = str(library)
    with standard_error_closed():  # it complains of a missing LLVM there; we say it in one line
        import drjit

        usable = drjit.has_backend(drjit.JitBackend.LLVM) or drjit.has_backend(drjit.JitBackend.CUDA)
    if not usable:
        named = os.environ.get("DRJIT_LIBLLVM_PATH", "not set")
        raise UserError(
            f"Sionna RT needs a GPU or an LLVM library of version {OLDEST_LLVM} or newer",
            "backend sionna",
            f"install one (Debian: apt-get install libllvm19), or name it in DRJIT_LIBLLVM_PATH (now {named})",
        )
    import sionna.rt

    return sionna.rt


class SionnaTracer:
    """Paths from a base station by `sionna.rt`: see `twin.propagation.tracer.Tracer` for the arguments.

    Args:
        samples: rays launched a solve.
        diffraction: whether single edges diffract, those of movers too, also in paths that are reflected besides.
        specular_loss: whether scattering takes sqrt(1 - S^2) off reflections.
        receivers_a_solve: receivers solved together.
        hash_slots: see `HASH_SLOTS`.

    Raises:
        UserError: Sionna RT or LLVM is missing, or as for `Tracer`.
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
        specular_loss: bool = False,
        receivers_a_solve: int = RECEIVERS_A_SOLVE,
        hash_slots: int = HASH_SLOTS,
    ) -> None:
        self._direct = Tracer(bodies, bs_position_m, carrier_hz, shapes, order=0, max_paths=1)
        order, max_paths = checked_limits(order, max_paths)
        self.rt = load_sionna()
        import mitsuba

        self.mi: Any = mitsuba
        self.bodies, self.shapes = tuple(bodies), tuple(shapes)
        self.bs_m = np.array(bs_position_m, np.float64)
        self.order, self.max_paths, self.samples, self.diffraction = order, max_paths, samples, diffraction
        self.wavelength_m = SPEED_OF_LIGHT_MPS / carrier_hz
        self.specular_loss = specular_loss
        self.receivers_a_solve, self.hash_slots = receivers_a_solve, hash_slots
        self._solids = (*bodies, *shapes)
        self.scene = self.rt.load_scene()
        self.scene.frequency = carrier_hz
        self.scene.bandwidth = 1e6
        for side in ("tx_array", "rx_array"):
            array = self.rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="VH")
            setattr(self.scene, side, array)
        self._materials: dict[Any, Any] = {}
        self._body_of_object: dict[int, tuple[int, int]] = {}
        self._slots: dict[tuple[int, int], tuple[Any, str]] = {}
        self._velocity: dict[tuple[int, int], list[float]] = {}
        self._pose = np.zeros((0, 4))
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
            thickness_m, permittivity = self._layer(material)
            self._materials[material] = self.rt.RadioMaterial(
                f"material-{len(self._materials)}",
                thickness=thickness_m,
                relative_permittivity=permittivity.real,
                conductivity=-permittivity.imag * 2.0 * np.pi * self.scene.frequency[0] * VACUUM_PERMITTIVITY,
                scattering_coefficient=material.scattering_coefficient if self.specular_loss else 0.0,
            )
        return self._materials[body.material]

    def _layer(self, material: RadioMaterial) -> tuple[float, complex]:
        """Thickness [m] and permittivity of a layer that reflects as the material does.

        Sionna has no half space: what comes back through the layer that stands for one is weaker by `ABSORBED_NEPER`.
        """
        eta = material.permittivity(SPEED_OF_LIGHT_MPS / self.wavelength_m)
        if np.isfinite(material.thickness_m):
            return material.thickness_m, eta
        index = np.sqrt(eta)
        if -index.imag < LEAST_LOSS * index.real:
            index = complex(index.real, -LEAST_LOSS * index.real)
            eta = complex(eta.real, 2.0 * index.real * index.imag)
        return ABSORBED_NEPER * self.wavelength_m / (4.0 * np.pi * -index.imag), eta

    def paths(
        self,
        ue_position_m: np.ndarray,
        ue_velocity_mps: np.ndarray | None = None,
        movers: Movers | None = None,
        ue_mover: int | None = None,
    ) -> Paths:
        """Paths of every frame and receiver: see `Tracer.paths`.

        With a body of the UE each frame is solved twice, the direct path without it; what bounces off it is dropped.
        """
        direct = self._direct.paths(ue_position_m, ue_velocity_mps, movers, ue_mover)
        ue = np.asarray(ue_position_m, np.float64)
        single = ue.ndim == 2
        ue = ue[:, None] if single else ue
        velocity = np.zeros_like(ue) if ue_velocity_mps is None else np.reshape(ue_velocity_mps, ue.shape)
        movers = movers or Movers.none(len(ue))
        found: list[_Found] = []
        for t in range(len(ue)):
            for first in range(0, ue.shape[1], self.receivers_a_solve):
                part = slice(first, first + self.receivers_a_solve)
                self.place_receivers(ue[t, part], velocity[t, part])
                self.move(movers, t)
                if ue_mover is None:
                    found.extend(self._read(self.solve()))
                    continue
                bounced = self._read(self.solve(direct=False)) if self.order or self.diffraction else None
                self.move(_without(movers, ue_mover), t)
                straight = self._read(self.solve(bounces=False))
                own = len(self.bodies) + ue_mover
                if bounced is None:
                    found.extend(straight)
                    continue
                found.extend(self._merged(one, two, own) for one, two in zip(straight, bounced, strict=True))
        return self._as_paths(found, direct, ue.shape[:1] if single else ue.shape[:2])

    def shut_in(self, point_m: np.ndarray) -> np.ndarray:
        """See `Tracer.shut_in`."""
        return self._direct.shut_in(point_m)

    def _merged(self, straight: _Found, bounced: _Found, own: int) -> _Found:
        """The direct path and those that do not touch the body `own`, strongest first."""
        foreign = ~(bounced["body"] == own).any(axis=1)
        rows = {name: np.concatenate([straight[name], bounced[name][foreign]]) for name in bounced}
        order = np.argsort(-(np.abs(rows["transfer"]) ** 2).sum((-2, -1)), kind="stable")[: self.max_paths]
        return {name: array[order] for name, array in rows.items()}

    def move(self, movers: Movers, frame: int) -> None:
        """Put the movers where they are in a frame, all in one update."""
        self._add_missing(movers)
        self._pose = movers.pose[frame]
        if not self._slots:
            return
        parameters = self.scene.mi_scene_params
        for (slot, shape), (thing, key) in self._slots.items():
            body = self.shapes[shape]
            if movers.shape[frame, slot] == shape:
                x, y, z, heading = movers.pose[frame, slot]
                c, s = np.cos(heading), np.sin(heading)
                place = body.vertex_m @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [x, y, z]
                velocity = movers.velocity_mps[frame, slot].tolist()
                if velocity != self._velocity.get((slot, shape), [0.0, 0.0, 0.0]):
                    thing.velocity = self._velocity[slot, shape] = velocity
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

    def solve(self, direct: bool = True, bounces: bool = True) -> Any:
        """The solver's own result for the receivers as they are."""
        from sionna.rt.path_solvers.sb_candidate_generator import SBCandidateGenerator

        SBCandidateGenerator.MIN_SPEC_COUNT_SIZE = self.hash_slots  # there is no argument for it
        return self.solver(
            self.scene,
            max_depth=max(self.order, int(self.diffraction)),
            samples_per_src=self.samples,
            synthetic_array=True,
            los=direct,
            specular_reflection=bounces and self.order > 0,
            diffuse_reflection=False,
            refraction=False,
            diffraction=bounces and self.diffraction,
        )

    def _read(self, solved: Any) -> list[_Found]:
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
            found.append(self._named({name: array[receiver, rows] for name, array in arrays.items()}))
        return found

    def _named(self, rows: _Found) -> _Found:
        """The paths of a receiver with body and facet of each bounce."""
        body, facet = np.full(rows["object"].shape, -1), np.full(rows["object"].shape, -1)
        for path, k in zip(*np.nonzero(rows["interaction"]), strict=True):
            number, solid = self._body_of_object[int(rows["object"][path, k])]
            body[path, k] = number
            if rows["interaction"][path, k] == self.rt.InteractionType.DIFFRACTION:
                facet[path, k] = self._wedge_at(number, solid, rows["vertex"][path, k].astype(np.float64))
            else:
                facet[path, k] = self._solids[solid].facets.of_triangle[rows["primitive"][path, k]]
        return {**rows, "body": body, "facet": facet}

    def _wedge_at(self, number: int, solid: int, point_m: np.ndarray) -> int:
        """The wedge of a body whose edge passes nearest to a point; Sionna names a triangle and no edge."""
        if number >= len(self.bodies):
            x, y, z, heading = self._pose[number - len(self.bodies)]
            c, s = np.cos(heading), np.sin(heading)
            point_m = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ (point_m - [x, y, z])
        wedges = self._solids[solid].wedges
        along = ((point_m - wedges.origin_m) * wedges.direction).sum(axis=1).clip(0.0, wedges.length_m)
        nearest = wedges.origin_m + along[:, None] * wedges.direction
        return int(np.linalg.norm(nearest - point_m, axis=1).argmin())

    def _as_paths(self, found: list[_Found], direct: Paths, links: tuple[int, ...]) -> Paths:
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
                        body[link, path, k], facet[link, path, k] = rows["body"][path, k], rows["facet"][path, k]
                        vertices[link, path, k] = rows["vertex"][path, k]
        clear = valid & (kind.max(axis=-1) == Interaction.NONE)

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
            line_of_sight=shaped(clear.any(axis=-1)),
            blocked=shaped(direct.blocked.reshape(-1)),
            enclosed=shaped(direct.enclosed.reshape(-1)),
        )


def _without(movers: Movers, slot: int) -> Movers:
    """The movers with one of them absent."""
    shape = movers.shape.copy()
    shape[:, slot] = -1
    return replace(movers, shape=shape)
