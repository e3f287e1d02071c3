"""The commands, as scripts of a checkout: `python launch/train.py`.

A wheel has them as the package `sop_keras_launch`, whose command `sop-keras` is
console.py. They import each other by plain names either way: nothing imports them as
modules of this package but that command.
"""
