"""What the tests of the `yard` tree share: which commands and options they cover, and how a refusal looks."""

import json
import time

COVERED = set()
EVERYWHERE = {"--json", "--dir", "--help"}


def covers(command, *options):
    """Says which command, and which of its own options, a test shows to work."""
    COVERED.update({(command, None), *((command, option) for option in options)})
    return lambda function: function


def leaves(command, path=()):
    """Each command below one, with its own options."""
    commands = getattr(command, "commands", {})
    if not commands:
        yield " ".join(path), {option for p in command.params for option in p.opts if option.startswith("--")} - EVERYWHERE
    for name, sub in commands.items():
        yield from leaves(sub, (*path, name))


def refused(stack, *words, code=1, **environment):
    """The error that a command ends with."""
    done = stack.yard(*words, "--json", **environment)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return json.loads(done.stderr.splitlines()[-1])["error"]


def cancelled(stack, name):
    """Cancels a job and waits until it has ended."""
    stack.json("job", "cancel", name)
    done = stack.yard("job", "watch", name, "--json")
    assert json.loads(done.stdout.splitlines()[-1]), done.stderr


def wait_for_epoch(stack, job, epoch, seconds=180):
    """Waits until a running training has stored so many epochs."""
    end = time.monotonic() + seconds
    while (shown := stack.json("job", "show", job)["training_job"])["training_progress"]["epoch"] < epoch:
        assert shown["status"]["state"] in {"JOB_STATE_QUEUED", "JOB_STATE_RUNNING"}
        assert time.monotonic() < end, f"{job} has not stored epoch {epoch} within {seconds} s"
        time.sleep(0.5)
