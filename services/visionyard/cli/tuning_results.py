"""What a search has come to: for people in a terminal, as a page for a browser, and as a picture."""

from __future__ import annotations

import html
import math
import shlex
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from visionyard.cli import output
from visionyard.cli.tuning_chart import STYLE, charts, picture
from visionyard.client.references import short
from visionyard.training.v1 import tuning_job_pb2

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ --ground: #f6f7f9; --card: #fff; --text: #1b2027; --quiet: #5b6573; --line: #dfe3e9; --best: #fbe9ec; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #12151a; --card: #1b2027; --text: #e6e9ee; --quiet: #9aa5b4; --line: #333b46; --best: #46262d; }} }}
body {{ margin: 0; padding: 24px 20px; background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }}
h1 {{ font-size: 24px; margin: 0; overflow-wrap: anywhere; }}
p {{ color: var(--quiet); margin: 4px 0 20px; overflow-wrap: anywhere; }}
main {{ display: flex; flex-wrap: wrap; gap: 16px; margin-bottom: 24px; }}
figure {{ margin: 0; padding: 8px; background: var(--card); border-radius: 6px; max-width: 100%; }}
figure svg {{ max-width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; background: var(--card); }}
th, td {{ padding: 5px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
.best td {{ background: var(--best); }}
{style}
</style>
</head>
<body>
"""
_TAIL = "</body>\n</html>\n"


def parameters_of(trial: tuning_job_pb2.TuningTrial) -> dict[str, Any]:
    """A trial's arguments by name."""
    return dict(sorted(json_format.MessageToDict(trial.parameters).items()))


def value_text(value: Any) -> str:
    """An argument's value for people, exact enough to be typed."""
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def state_word(trial: tuning_job_pb2.TuningTrial) -> str:
    """A trial's state for people."""
    return output.enum_word(tuning_job_pb2.TrialState.Name(trial.state), "TRIAL_STATE_")


def ranked(job: tuning_job_pb2.TuningJob) -> list[tuning_job_pb2.TuningTrial]:
    """The trials, that with the best last result first, those without one last."""

    def merit(trial: tuning_job_pb2.TuningTrial) -> tuple[bool, float, int]:
        last = trial.results[-1].value if trial.results else -math.inf
        return trial.number != job.best_trial, -last, trial.number

    return sorted(job.trials, key=merit)


def metric_name(job: tuning_job_pb2.TuningJob) -> str:
    """The metric for people."""
    return job.spec.metric.removeprefix("metrics/")


def cells(job: tuning_job_pb2.TuningJob) -> tuple[list[str], list[list[str]]]:
    """The table of the trials, the best first: headers and rows."""
    names = [parameter.name for parameter in job.spec.parameters]
    rows = []
    for trial in ranked(job):
        value = trial.results[-1].value if trial.results else trial.value if trial.HasField("value") else None
        told = "" if value is None else f"{value:.4g}"
        own = parameters_of(trial)
        job_id = short(trial.training_job) if trial.training_job else ""
        rows.append([str(trial.number), told, str(trial.epoch), state_word(trial), *(value_text(own[name]) for name in names), job_id])
    return ["TRIAL", metric_name(job), "EPOCHS", "STATE", *names, "JOB"], rows


def tuned(job: tuning_job_pb2.TuningJob) -> None:
    """A search for people, also one that has not ended."""
    headers, rows = cells(job)
    output.table(headers, rows, right=frozenset({0, 1, 2}), empty="no trial yet")
    for line in summary(job):
        output.write(line)


def summary(job: tuning_job_pb2.TuningJob) -> list[str]:
    """What came of a search, in a few sentences."""
    lines = []
    best = next((trial for trial in job.trials if trial.number == job.best_trial), None)
    if best is not None:
        last = best.results[-1]
        made = f"{short(job.model_version)}: " if job.model_version else ""
        lines.append(
            f"{made}the best of {len(job.trials)} trials is trial {best.number}: {metric_name(job)} {last.value:.4g} after {last.epochs} epochs"
        )
        words = [f"--set {shlex.quote(f'{name}={value_text(value)}')}" for name, value in parameters_of(best).items()]
        lines.append(f"train with what it found: yard train ... {' '.join(words)}")
    if job.cost.currency:
        lines.append(f"its trials have cost {job.cost.amount:.2f} {job.cost.currency}")
    if job.stopped_early:
        lines.append(f"it stopped early: {job.stopped_early}")
    return lines


def page(job: tuning_job_pb2.TuningJob) -> str:
    """An HTML page that needs nothing from outside; whatever names hold is escaped."""
    title = html.escape(f"Search for {short(job.spec.training.model)}")
    about = [f"on {short(job.spec.training.dataset_version)}, {len(job.trials)} of {job.spec.trials} trials", *summary(job)]
    headers, rows = cells(job)
    best = str(job.best_trial)
    table = "".join(
        f"<tr{' class=best' if row[0] == best else ''}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return "".join(
        [
            _HEAD.format(title=title, style=STYLE),
            f"<h1>{title}</h1>\n",
            *(f"<p>{html.escape(line)}</p>\n" for line in about),
            "<main>\n",
            *(f"<figure>{svg}</figure>\n" for svg in charts(job)),
            "</main>\n<div class=wide><table>\n<tr>",
            *(f"<th>{html.escape(header)}</th>" for header in headers),
            f"</tr>\n{table}</table></div>\n",
            _TAIL,
        ]
    )


def write_page(job: tuning_job_pb2.TuningJob, target: Path) -> None:
    """Writes the page."""
    target.write_text(page(job), encoding="utf-8")


def write_picture(job: tuning_job_pb2.TuningJob, target: Path) -> None:
    """Writes the picture, SVG."""
    target.write_text(picture(job), encoding="utf-8")
