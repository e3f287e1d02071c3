"""Section 3 of the paper: what it saves to run many problems at once.

    taskset -c 0 python benchmarks/theory.py

Descent (15) on 8 problems of Figure 2's sizes with 31 alphas each, all in the same
arrays, against the same code with one problem and one alpha at a time, and against the
same steps in a TensorFlow function that XLA compiles. Nothing converges (its tolerance
is tiny), so that all take the same number of steps.

The convex program (25) on 4 problems of Figure 3's sizes with 11 lambdas each, built
once, against building it anew for each problem and lambda, in rank numbers in place of
theta (as `solve_convex` does) and in theta itself.

Seconds are those that processors spent on all threads of this process
(`time.process_time`). Memory is the most that Python and NumPy held at a time in a run
of its own (`tracemalloc`), which does not see TensorFlow's tensors or the solvers'.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cvxpy
import numpy as np
import tensorflow as tf
from timing import median_ratio

from sop_keras.theory import (
    LinearProblem,
    gradient_descent,
    random_problem,
    solve_convex,
)

GAMMA = float(np.exp(-8))
MAX_CHANGE = 1e-3
ALPHAS = np.geomspace(4, 4000, 31)
PENALTIES = np.geomspace(1e-3, 1, 11)
# No residual gets there.
NEVER = 1e-200


def at_once(
    problems: Sequence[LinearProblem],
    alphas: np.ndarray,
    steps: int,
    tolerance: float = NEVER,
) -> np.ndarray:
    """Ends of all problems and alphas (theta), descending in the same arrays."""
    return gradient_descent(
        problems,
        alphas,
        GAMMA,
        max_change=MAX_CHANGE,
        tolerance=tolerance,
        max_steps=steps,
    ).theta


def one_by_one(
    problems: Sequence[LinearProblem],
    alphas: np.ndarray,
    steps: int,
    tolerance: float = NEVER,
) -> np.ndarray:
    """The same, one problem and alpha after another."""
    return np.concatenate(
        [
            np.concatenate(
                [at_once([one], alpha, steps, tolerance) for alpha in alphas[:, None]],
                axis=1,
            )
            for one in problems
        ]
    )


def compiled(
    problems: Sequence[LinearProblem], alphas: np.ndarray, steps: int
) -> Callable[[], np.ndarray]:
    """The same steps, compiled by XLA: a function that takes them."""
    jacobian = tf.constant(np.stack([one.jacobian for one in problems]))
    labels = tf.constant(np.stack([one.labels for one in problems])[:, None])
    norms = [np.linalg.norm(one.jacobian, 2) for one in problems]
    stiffness = tf.constant(np.square(norms)[:, None, None])
    rate = tf.constant(2 * alphas[None, :, None])
    shape = len(problems), len(alphas)
    theta = tf.zeros((*shape, jacobian.shape[2]), tf.float64)
    start = tf.fill((*shape, jacobian.shape[1]), tf.constant(GAMMA, tf.float64))

    @tf.function(jit_compile=True)
    def descend(theta: tf.Tensor, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        for _ in tf.range(steps):
            residual = tf.matmul(theta, jacobian, transpose_b=True) + u * u - v * v
            residual -= labels
            size = tf.reduce_max(u * u + v * v, -1, keepdims=True)
            largest = tf.reduce_max(tf.abs(residual), -1, keepdims=True)
            residual /= tf.maximum(
                stiffness + 2 * rate * size, rate * largest / MAX_CHANGE
            )
            theta -= tf.matmul(residual, jacobian)
            u, v = u - rate * residual * u, v + rate * residual * v
        return theta

    return lambda: descend(theta, start, start).numpy()


def built_once(
    problems: Sequence[LinearProblem], penalties: np.ndarray
) -> list[np.ndarray]:
    """Solutions of (25) (theta), as the library finds them."""
    return [solve_convex(one, penalties).theta for one in problems]


def built_anew(
    problems: Sequence[LinearProblem], penalties: np.ndarray, in_theta: bool
) -> list[np.ndarray]:
    """The same, with a new program for each problem and lambda."""
    found = []
    for one in problems:
        left, singular_values, right = one.svd
        factor = one.jacobian if in_theta else left * singular_values
        back = np.eye(one.num_parameters) if in_theta else right
        rows = []
        for penalty in penalties:
            unknown = cvxpy.Variable(factor.shape[1])
            noise = cvxpy.Variable(one.num_examples)
            goal = cvxpy.sum_squares(unknown) / 2 + penalty * cvxpy.norm1(noise)
            cvxpy.Problem(
                cvxpy.Minimize(goal), [factor @ unknown + noise == one.labels]
            ).solve(solver="ECOS")
            rows.append(unknown.value @ back)
        found.append(np.stack(rows))
    return found


def processor_seconds(
    programs: dict[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Processor seconds of each program in each round, after one that is not counted.

    They take turns, the other way round every time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name in list(programs)[:: 1 if turn % 2 else -1]:
            started = time.process_time()
            programs[name]()
            if turn:
                seconds[name].append(time.process_time() - started)
    return seconds


def peak_megabytes(program: Callable[[], object]) -> float:
    """The most that Python and NumPy hold in a run, beyond what they held before."""
    tracemalloc.start()
    program()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def show(programs: dict[str, Callable[[], object]], rounds: int) -> None:
    """Print a row for each program, the first one being what the others are held to."""
    seconds = processor_seconds(programs, rounds)
    first = next(iter(programs))
    print("\n| | processor seconds | of the first | peak memory |")
    print("| --- | --- | --- | --- |")
    for name, program in programs.items():
        ratio = median_ratio(seconds[name], seconds[first])
        median = statistics.median(seconds[name])
        peak = peak_megabytes(program)
        print(f"| {name} | {median:.2f} | {ratio:.2f} | {peak:.2f} MB |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=2000, help="of descent")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    steps = arguments.steps
    problems = [random_problem(20, 40, 3, 3, seed) for seed in range(8)]
    show(
        {
            "descent at once": lambda: at_once(problems, ALPHAS, steps),
            "one by one": lambda: one_by_one(problems, ALPHAS, steps),
            "at once, compiled by XLA": compiled(problems, ALPHAS, steps),
        },
        arguments.rounds,
    )
    larger = [random_problem(100, 150, 20, 20, seed) for seed in range(4)]
    show(
        {
            "(25) built once": lambda: built_once(larger, PENALTIES),
            "anew each time": lambda: built_anew(larger, PENALTIES, in_theta=False),
            "anew, in theta": lambda: built_anew(larger, PENALTIES, in_theta=True),
        },
        arguments.rounds,
    )


if __name__ == "__main__":
    main()
