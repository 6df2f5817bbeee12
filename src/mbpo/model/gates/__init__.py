"""When a branched rollout must stop: one small interface, and one file for each answer to it.

`interface` says what a gate is, `schedule` and `bound` set the length of all branches, `macura` and
`infoprop` stop branches one by one. None of them knows the agent, the ensemble or the learner.
"""
