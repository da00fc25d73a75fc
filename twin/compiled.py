"""How kernels are compiled."""

from numba import njit

__all__ = ["inlined", "kernel", "leaf"]

kernel = njit(cache=True, error_model="numpy")
"""Any kernel."""
leaf = njit(cache=True, error_model="numpy", _nrt=False)  # type: ignore[call-overload]
"""A kernel that allocates nothing, and counts no references to its arrays: a tuple of many costs nothing to hand on,
and threads do not wait for each other's counts. Copying a slice allocates: there, arrays are copied by elements."""
inlined = njit(cache=True, error_model="numpy", _nrt=False, forceinline=True)  # type: ignore[call-overload]
"""A leaf that becomes part of its callers: for short ones that are called for every path or chain with tuples of many
arrays, which a call would copy one by one."""
