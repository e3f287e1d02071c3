"""What reproduce.py would run, without running it."""

import reproduce
from printed_command import launch_command

from sop_keras import methods


def test_all_commands_and_nothing_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--table=1", "--cells=cifar100_sym80", "--seeds=2", "--epochs", "2"]
    assert reproduce.main([*arguments, "--dry_run"]) == 0
    command = f"{launch_command('train.py')} --flagfile="
    assert capsys.readouterr().out.splitlines() == [
        f"{command}{flags} --epochs 2 --seed={seed} "
        f"--output_dir=runs/table1/{name}-seed{seed}"
        for name, flags in (
            ("cifar100_sym80_ce", "cifar100_sym80.flags --method=ce"),
            *(
                (f"cifar100_sym80_{method}", f"cifar100_sym80_{method}.flags")
                for method in ("forward", "gce", "sl", "elr")
            ),
            ("cifar100_sym80", "cifar100_sym80.flags"),
        )
        for seed in (0, 1)
    ]
    # All methods are timed, each in one process with the others.
    assert reproduce.main(["--table=5", "--small", "--epochs=4", "--dry_run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{command}plus_cpu.flags --epochs=4 --method={method}"
        for method in methods.names()
    ]
    # All of a table: 48 cells of 5 seeds; the two columns of WebVision are one run.
    for table, count in ((1, 240), (2, 190), (3, 50), (4, 160)):
        assert reproduce.main([f"--table={table}", "--dry_run"]) == 0
        assert len(set(capsys.readouterr().out.splitlines())) == count
    assert list(tmp_path.iterdir()) == []
