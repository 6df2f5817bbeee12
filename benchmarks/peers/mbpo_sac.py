"""One run of our SAC: `python mbpo_sac.py JOB.json RESULT.json`, the counterpart of `sb3_sac.py`."""

from typing import Any

from episodes import Clock, returns, serve

from mbpo import SAC

LEARNER = ("hidden_sizes", "learning_rate", "batch_size", "gamma", "tau", "target_entropy")


def work(job: dict[str, Any]) -> dict[str, Any]:
    settings = job["settings"]
    agent = SAC(
        job["env_id"],
        seed=job["seed"],
        eval_freq=job["steps"],
        eval_episodes=1,  # Its own evaluation comes after the clock has stopped.
        random_steps=settings["random_steps"],
        random_action_hold=1,
        replay_capacity=settings["replay_capacity"],
        utd_ratio=1,
        sac={"initial_alpha": 1.0, "critic_layer_norm": False, **{name: settings[name] for name in LEARNER}},
    )
    clock = Clock(job["clock_from"], job["clock_to"])
    agent.learn(job["steps"], progress=lambda run: clock.tick(run.env_step))
    scores = returns(job["env_id"], job["evaluation_seeds"], lambda obs: agent.predict(obs)[0])
    return {**clock.report(), "returns": scores}


if __name__ == "__main__":
    serve(work, ("mbpo", "jax", "jaxlib", "gymnasium", "numpy"))
