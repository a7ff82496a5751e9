"""What a fake build says and how long it takes. The names of the stages are those of provisionerd/runner (unverified)."""

from dataclasses import dataclass

_DAEMON, _TERRAFORM = "provisioner_daemon", "provisioner"
_VERBS = {"start": "Starting workspace", "stop": "Stopping workspace", "delete": "Destroying workspace"}


@dataclass(frozen=True, slots=True)
class Step:
    """Some server seconds of work, and the lines that are logged once it is done."""

    seconds: float
    lines: tuple[tuple[str, str, str, str], ...]
    """Source, level, stage and output of each; the output of a stage's first line is empty."""
    timed: str = ""
    """The stage under which the work appears in the build's timings: plan or apply."""

    def columns(self) -> tuple[list[str], ...]:
        """Give the lines as four columns."""
        return tuple([line[index] for line in self.lines] for index in range(4))


def _stage(name: str, *outputs: str) -> tuple[tuple[str, str, str, str], ...]:
    return ((_DAEMON, "info", name, ""), *((_TERRAFORM, "info", name, output) for output in outputs))


def script(kind: str, transition: str) -> tuple[Step, ...]:
    """Give the steps of a job: 0.6 s for a build, 0.2 s for the import of a template version."""
    if kind == "template_version_import":
        return (Step(0.2, (*_stage("Parsing template parameters"), *_stage("Detecting resources", "No resources."))),)
    return (
        Step(0.2, _stage("Setting up")),
        Step(0.2, _stage("Planning infrastructure", "Reading the template.", "The plan changes nothing."), "plan"),
        Step(0.2, (*_stage(_VERBS[transition], "Nothing to apply."), *_stage("Cleaning Up")), "apply"),
    )
