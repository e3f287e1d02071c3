import audit_runs
import numpy as np
import pandas as pd

from sop_keras.label_issues.decisions import Decisions


def test_what_decisions_say_goes_by_labels():
    # Of three, one is to be removed; one was called another class that is its own.
    kinds = np.array(["remove", "other", "given"])
    times = np.zeros(3, "datetime64[ms]")
    decisions = Decisions(np.arange(3), kinds, np.array([-1, 1, 0]), times)
    table = pd.DataFrame(
        {
            "decision": ["remove", "given", "given", ""],
            "label_quality": [np.nan, 1.0, 1.0, 0.25],
            "is_label_issue": [False, False, False, True],
        }
    )
    said = audit_runs._of_decisions([decisions], table)
    assert "decided: 3; wrong were 33 % of them" in said
    assert "worth a look: 1 more, of which about 1 are wrong" in said
