"""What the paper says of its method without a table, as data to be judged by runs.

Source: Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization",
ICML 2022: Section 3, Table A.1, footnote 2, Appendices A.1 and A.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from paper import METHODS

SMALL = "plus_cpu.flags"
"""An experiment at a size for two CPU cores, in place of the paper's."""


@dataclass(frozen=True)
class Arm:
    """A setting of an ablation.

    Args:
        title: what a reader calls it.
        words: the flags that ask for it beside `SMALL`. Defaults to none.
        expected: how the paper has its accuracy beside that of the ablation's first
            arm: `"equal"`, `"above"` or `"below"`. Defaults to `None`: it does not say.
    """

    title: str
    words: tuple[str, ...] = ()
    expected: str | None = None


@dataclass(frozen=True)
class Ablation:
    """What the paper says of its method without a table.

    Args:
        name: what the launcher calls it.
        says: what the paper says, and where.
        method: the method's name.
        noise: as launch/compare.py has it.
        arms: the first is what the others are compared with.
    """

    name: str
    says: str
    method: str
    noise: str
    arms: tuple[Arm, ...]


def _rates(init_std: str, rate: str) -> tuple[str, ...]:
    return (f"--init_std={init_std}", f"--u_lr={rate}", f"--v_lr={rate}")


ABLATIONS = (
    Ablation(
        "loss_of_v",
        "A.1: trained by L_CE, v learns nothing; so L_MSE trains it.",
        METHODS["SOP"],
        "symmetric:0.5",
        (
            Arm("v not trained", ("--v_lr=0",)),
            Arm("v by L_CE", ("--v_loss=ce",), "equal"),
            Arm("v by L_MSE", (), "above"),
        ),
    ),
    Ablation(
        "one_hot",
        "Footnote 2: L_MSE has the prediction as a one-hot vector, not as p.",
        METHODS["SOP"],
        "symmetric:0.5",
        (Arm("one-hot"), Arm("p", ("--v_loss=mse_of_p",), "below")),
    ),
    Ablation(
        "lambdas",
        "A.4: SOP+ is not sensitive to lambda_C and lambda_B.",
        METHODS["SOP+"],
        "symmetric:0.5",
        (
            Arm("0.9, 0.1"),
            Arm("lambda_C 0.45", ("--consistency_weight=0.45",), "equal"),
            Arm("lambda_C 1.8", ("--consistency_weight=1.8",), "equal"),
            Arm("lambda_B 0.05", ("--balance_weight=0.05",), "equal"),
            Arm("lambda_B 0.2", ("--balance_weight=0.2",), "equal"),
        ),
    ),
    Ablation(
        "asymmetric_rates",
        "Asymmetric noise: Table A.1 has alpha_u 10 and alpha_v 100, the authors' code "
        "alpha_u 0.1.",
        METHODS["SOP"],
        "asymmetric:0.4",
        (
            Arm("alpha_u 10", ("--u_lr=10", "--v_lr=100")),
            Arm("alpha_u 0.1", ("--u_lr=0.1", "--v_lr=100")),
        ),
    ),
    Ablation(
        "init_std_and_alpha",
        "Eq. (22): init_std and alpha act through lambda = -log(init_std) / (2 alpha), "
        "so that equal ones act alike; the first three have 0.46.",
        METHODS["SOP"],
        "symmetric:0.5",
        (
            Arm("1e-4, alpha 10"),  # `SMALL`'s own, which others have trained
            Arm("1e-8, alpha 20", _rates("1e-8", "20"), "equal"),
            Arm("1e-2, alpha 5", _rates("1e-2", "5"), "equal"),
            Arm("1e-8, alpha 10", _rates("1e-8", "10")),
            Arm("1e-4, alpha 5", _rates("1e-4", "5")),
            Arm("1e-4, alpha 20", _rates("1e-4", "20")),
        ),
    ),
)
"""What `SMALL` can show of what the paper says without a table."""
