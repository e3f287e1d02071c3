"""What reproduce.py would run, without running it."""

import reproduce
from printed_command import launch_command


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
    assert reproduce.main(["--table=5", "--seeds=1", "--dry_run"]) == 0
    name = "cifar10_plus_sym50"
    assert capsys.readouterr().out.splitlines() == [
        f"{command}{name}.flags --method={method} --seed=0 "
        f"--output_dir=runs/table5/{name}_{method}-seed0"
        for method in (
            *("ce", "coteaching_plus", "dividemix", "elr_plus", "sop", "sop_plus"),
        )
    ]
    # All of a table: 48 cells of 5 seeds; the two columns of WebVision are one run.
    for table, count in ((1, 240), (2, 190), (3, 50), (4, 160), (5, 30)):
        assert reproduce.main([f"--table={table}", "--dry_run"]) == 0
        assert len(set(capsys.readouterr().out.splitlines())) == count
    assert list(tmp_path.iterdir()) == []
