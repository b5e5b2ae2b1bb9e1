"""The decision core: who may do what, and why.

Pure: no network, no database, no clock, no environment. `vocabulary` names things, `rows` is policy
as data, `enforcer` is the Casbin enforcer, `engine` asks it. Start reading at `engine`.
"""
