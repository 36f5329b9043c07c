"""Solves written down as plain loops, which autograd differentiates by itself: what every gradient has to be."""

import torch

from pyndereg.solver.tableaus import get_tableau


def runge_kutta(method, f, y0, starts, lengths):
    """States at the ends of steps of given lengths, the initial state first.

    Each stage is evaluated once and in order, those alone excepted that only error estimates use.
    """
    tableau = get_tableau(method)
    rows = list(zip(tableau.a, tableau.c, strict=True))
    rows = rows[:-1] if tableau.first_same_as_last else rows
    states = [y0]
    for t, dt in zip(starts, lengths, strict=True):
        y, slopes = states[-1], []
        for row, c in rows:
            state = sum((dt * float(a) * k for a, k in zip(row, slopes, strict=True) if a), y.clone())
            slopes.append(slope(f, t + float(c) * dt, state))
        states.append(sum((dt * float(b) * k for b, k in zip(tableau.b, slopes, strict=False) if b), y))
    return states


def euler_maruyama(f, g, y0, starts, lengths, increments):
    """States at the ends of Euler–Maruyama steps, the initial state first."""
    states = [y0]
    for t, dt, dW in zip(starts, lengths, increments, strict=True):
        y = states[-1]
        states.append(y + dt * slope(f, t, y) + slope(g, t, y) * dW)
    return states


def heun(f, g, y0, starts, lengths, increments):
    """States at the ends of steps of Heun's method for Stratonovich equations, the initial state first."""
    states = [y0]
    for t, dt, dW in zip(starts, lengths, increments, strict=True):
        y = states[-1]
        move = dt * slope(f, t, y) + slope(g, t, y) * dW
        again = dt * slope(f, t + dt, y + move) + slope(g, t + dt, y + move) * dW
        states.append(y + 0.5 * (move + again))
    return states


def slope(f, t, y):
    """f on a state of its own, as a tensor of its own: f may write into either. Half precision is cast back."""
    return f(torch.tensor(t, dtype=y.dtype, device="cpu"), y.clone()).to(y.dtype).clone()
