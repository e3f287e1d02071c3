"""Options of launch/reproduce.py that what is reproduced has no use for."""

import pytest
import reproduce


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--table=1 (to 5), --table=ablations or --figure=1"),
        (["--table=1", "--small"], "--small is not for --table=1, but for --table=5"),
        (["--table=5", "--rounds=0"], "--rounds must be 1 or more"),
        (["--table=6"], "--table"),
        (["--figure=2"], "--figure"),
        (["--table=1", "--seeds=0"], "--seeds must be 1 or more"),
        (
            ["--figure=1", "--cells=x"],
            "--cells is not for --figure=1, but for --table=",
        ),
        (["--figure=1", "--best"], "--best is not for --figure=1"),
        (["--figure=1", "--rounds=3"], "--rounds is not for --figure=1, but for --tab"),
        (
            ["--table=1", "--rounds=3"],
            "--rounds is not for --table=1, but for --table=5",
        ),
        (["--table=5", "--cells=x"], "--cells is not for --table=5, but for --table=1"),
        (["--table=5", "--seeds=3"], "--seeds is not for --table=5"),
        (["--table=5", "--best"], "--best is not for --table=5"),
        (["--table=ablations", "--methods=ce"], "--methods is not for --table=ablat"),
        (["--table=ablations", "--best"], "--best is not for --table=ablations"),
        (["--table=ablations", "--rounds=1"], "--rounds is not for --table=ablations"),
    ],
)
def test_own_options_are_checked(arguments, text, capsys):
    with pytest.raises(SystemExit) as exit_:
        reproduce.main(arguments)
    assert exit_.value.code == 2
    assert text in capsys.readouterr().err
