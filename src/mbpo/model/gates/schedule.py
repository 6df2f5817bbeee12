"""MBPO's schedule: one rollout length for all branches, growing with the epochs."""


def scheduled_rollout_length(epoch: int, *, start_epoch: int, end_epoch: int, start: int, end: int) -> int:
    """The rollout length of an epoch, growing linearly (Janner et al. 2019, appendix C).

        k(e) = ⌊ start + clip((e − start_epoch) / (end_epoch − start_epoch), 0, 1) · (end − start) ⌋

    Constant at `start` up to `start_epoch` and at `end` from `end_epoch` on.
    """
    if epoch <= start_epoch or end == start:
        return start
    if epoch >= end_epoch:
        return end
    return start + (epoch - start_epoch) * (end - start) // (end_epoch - start_epoch)
