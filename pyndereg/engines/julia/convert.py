"""What crosses between torch and Julia: C structures by address, and tensors over each other's memory."""

import ctypes
from ctypes import c_double, c_int64, c_void_p

import torch
from torch import Tensor


class Request(ctypes.Structure):
    """NDERegEngine.Bridge.Request: what a solve is asked for."""

    _fields_ = (
        ("field", c_int64),
        ("method", c_int64),
        ("u0", c_void_p),
        ("dimensions", c_void_p),
        ("rank", c_int64),
        ("is_single", c_int64),
        ("p", c_void_p),
        ("parameters", c_int64),
        ("t0", c_double),
        ("t1", c_double),
        ("rtol", c_double),
        ("atol", c_double),
        ("dt", c_double),
        ("adaptive", c_int64),
        ("max_steps", c_int64),
        ("saveat", c_void_p),
        ("saves", c_int64),
        ("saved", c_void_p),
        ("u1", c_void_p),
        ("rms", c_int64),
        ("keep_states", c_int64),
        ("checkpoints", c_int64),
        ("keep_solution", c_int64),
    )


class Reply(ctypes.Structure):
    """NDERegEngine.Bridge.Reply: what came of a solve. Its memory is Julia's, until the record is released."""

    _fields_ = (
        ("record", c_int64),
        ("status", c_int64),
        ("steps", c_int64),
        ("rejected", c_int64),
        ("evaluations", c_int64),
        ("t_reached", c_double),
        ("saved", c_int64),
        ("rows", c_void_p),
        ("states", c_void_p),
        ("messages", c_int64),
        ("first_rejected", c_int64),
        ("order", c_double),
    )


class StochasticRequest(ctypes.Structure):
    """NDERegEngine.Bridge.StochasticRequest: what a stochastic solve is asked for."""

    _fields_ = (
        ("solve", Request),
        ("diffusion", c_int64),
        ("q", c_void_p),
        ("parameters", c_int64),
        ("noises", c_int64),
        ("increments", c_void_p),
        ("token", c_int64),
        ("estimates", c_int64),
        ("interpretation", c_int64),
    )


class StochasticReply(ctypes.Structure):
    """NDERegEngine.Bridge.StochasticReply: what came of a stochastic solve; memory as that of `Reply`."""

    _fields_ = (
        ("reply", Reply),
        ("diffusion_evaluations", c_int64),
        ("kept", c_void_p),
        ("kept_steps", c_int64),
    )


class Pullback(ctypes.Structure):
    """NDERegEngine.Bridge.Pullback: cotangents of a solve's outputs, and where the gradients go."""

    _fields_ = (
        ("record", c_int64),
        ("p", c_void_p),
        ("u1", c_void_p),
        ("times", c_void_p),
        ("saved", c_void_p),
        ("saves", c_int64),
        ("ends", c_void_p),
        ("scaled_error", c_void_p),
        ("stiffness", c_void_p),
        ("gu0", c_void_p),
        ("gp", c_void_p),
        ("gt", c_void_p),
    )


def address(structure: ctypes.Structure) -> int:
    """Where a structure lies."""
    return ctypes.addressof(structure)


def pointer(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor's elements lie; None for none."""
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def tensor_at(where: int | None, count: int, dtype: torch.dtype) -> Tensor:
    """A tensor over memory of Julia's: valid as long as Julia keeps that memory. Shape (count,)."""
    if not where or count == 0:
        return torch.empty(0, dtype=dtype, device="cpu")
    return torch.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(where), dtype=dtype)
