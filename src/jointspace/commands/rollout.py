"""`jointspace rollout`."""

from jointspace.commands.arguments import Rollout
from jointspace.commands.simulate import camera_names
from jointspace.progress import progress_bar
from jointspace.sim.closed_loop import ClosedLoopResult, run_closed_loop
from jointspace.sim.policies import load_policy, reference_policies


def run(arguments: Rollout) -> ClosedLoopResult:
    """Runs a policy in closed loop on seeded scenes.

    Returns:
        Success per skill with its interval, beside floors and ceiling.

    Raises:
        InputError: the policy cannot be loaded, raises or returns no action; or an argument is out
            of range.
        MissingExtraError: MuJoCo is not installed.
    """
    policies = {arguments.policy: load_policy(arguments.policy)}
    if arguments.references:
        policies = reference_policies() | policies
    with progress_bar("rolling out") as report:
        return run_closed_loop(
            policies,
            episodes_per_skill=arguments.episodes,
            seed=arguments.seed,
            cameras=camera_names(arguments.cameras),
            image_px=arguments.px,
            progress=report,
        )
