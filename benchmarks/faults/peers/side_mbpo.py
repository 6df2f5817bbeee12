"""This package's MBPO in every situation, with what it offers for it."""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from short_task import RUN_SETTINGS  # noqa: E402
from situations import STEPS, Trap, finite, halve, make, serve, told, with_full_disk  # noqa: E402

from mbpo import MBPO  # noqa: E402
from mbpo.envs.make import EnvSource  # noqa: E402
from mbpo.training import loop  # noqa: E402
from mbpo.training.checkpoint import saved_step  # noqa: E402
from mbpo.training.env_check import check_env  # noqa: E402
from mbpo.training.manifest import MANIFEST, _checksum  # noqa: E402

loop.CHECKPOINT_SHARE = float("inf")


def agent(fault: str = "", out: Path | None = None, **settings: Any) -> MBPO:
    made = []

    def one() -> Any:
        # The first is made to learn its name, the second to train in, the others to evaluate in.
        made.append(make(fault if len(made) == 1 else ""))
        return made[-1]

    return MBPO(one, seed=0, out=out, **RUN_SETTINGS, **settings)


def weights(model: MBPO) -> list[Any]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.learned[1].sac.params)]


def fault(name: str, folder: Path) -> str:
    model = agent(name, folder / "run", **({"env_timeout": 2.0} if name == "step hangs" else {}))
    what = told(lambda: model.learn(STEPS))
    return f"{what}; {finite(weights(model))}; checkpoint of step {saved_step(folder / 'run' / 'checkpoint')}"


def resume(folder: Path) -> str:
    whole = agent().learn(STEPS)
    agent(out=folder / "run").learn(60).close()
    second = MBPO.load(folder / "run", env=make, resume=True).learn(STEPS - 60)
    same = all((a == b).all() for a, b in zip(weights(whole), weights(second), strict=True))
    return f"continues; weights {'the same' if same else 'differ'} from the uninterrupted run's"


def full_disk(folder: Path) -> str:
    model = agent(out=folder / "run").learn(40)
    what = with_full_disk(lambda: model.learn(40), 3000)
    return f"{what}; the checkpoint from before: {told(lambda: MBPO.load(folder / 'run', env=make))}"


def newest_state(folder: Path) -> Path:
    content = json.loads((folder / "run" / "checkpoint" / MANIFEST).read_text())
    return folder / "run" / "checkpoint" / content["file"]


def truncated(folder: Path) -> str:
    agent(out=folder / "run").learn(40).close()
    halve(newest_state(folder))
    return told(lambda: MBPO.load(folder / "run", env=make))


def code(folder: Path) -> str:
    import pickle

    agent(out=folder / "run").learn(40).close()
    payload = pickle.dumps(Trap(folder / "ran"))
    newest_state(folder).write_bytes(payload)
    path = folder / "run" / "checkpoint" / MANIFEST
    content = json.loads(path.read_text()) | {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    del content["checksum"]
    path.write_text(json.dumps(content | {"checksum": _checksum(content)}))
    what = told(lambda: MBPO.load(folder / "run", env=make))
    return f"{what}; code from the file {'ran' if (folder / 'ran').exists() else 'did not run'}"


def two_writers(folder: Path) -> str:
    import subprocess

    model = agent(out=folder / "run").learn(40)
    command = [sys.executable, "-m", "mbpo.cli.main", "train", "--resume", str(folder / "run"), "--steps", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    model.close()
    return f"exit status {done.returncode}: {' '.join(done.stderr.split())}"


def check(folder: Path) -> str:
    def one() -> Any:
        return make("observation of another shape")

    return "; ".join(finding.sentence for finding in check_env(EnvSource.of(one)) if finding.level == "error")


SITUATIONS = {
    **{
        name: partial(fault, name)
        for name in (
            "step raises",
            "step hangs",
            "nan observation",
            "nan reward",
            "observation of another shape",
            "observation out of its space",
        )
    },
    "resume": resume,
    "full disk": full_disk,
    "truncated file": truncated,
    "code in a file": code,
    "two writers": two_writers,
    "check before training": check,
}

if __name__ == "__main__":
    serve(SITUATIONS)
