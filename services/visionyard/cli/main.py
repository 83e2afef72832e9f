"""Entry point of ``yard``: runs a command and turns whatever happens into a sentence and an exit code."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import typer

from visionyard.cli.app import build
from visionyard.cli.output import dump_json, plain
from visionyard.cli.session import state_dir_of
from visionyard.client.errors import ClientError, NoServer, from_yard_error
from visionyard.kit.errors import Code, Reason, YardError

DONE, FAILED, USAGE, NO_SERVER, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes."""
_LOG_LIMIT_BYTES = 4 << 20


def main() -> None:
    """The console script."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _forget_stdout()
    gc.freeze()  # the process ends: without it the collector goes through all modules once more, for 0.1 s
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs ``yard`` with the arguments; the exit code."""
    as_json = "--json" in arguments
    try:
        result = build()(args=arguments, prog_name="yard", standalone_mode=False)
    except (ClientError, YardError) as error:
        found = from_yard_error(error) if isinstance(error, YardError) else error
        _report(found, as_json=as_json)
        return NO_SERVER if isinstance(found, NoServer) else FAILED
    except typer.TyperException as error:
        return _wrong_usage(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last door before the user: nobody sees a traceback
        _report(_unexpected(error, arguments), as_json=as_json)
        return FAILED
    return result if isinstance(result, int) else DONE


def _report(error: ClientError, *, as_json: bool) -> None:
    told = error.to_json()
    sys.stderr.write((dump_json({"error": told}) if as_json else f"yard: {plain(told['message'])}") + "\n")


def _wrong_usage(error: typer.TyperException, *, as_json: bool) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "yard"
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n" if not as_json else "")
        message = f"{path} needs a command"
        if not as_json:
            return USAGE
    _report(ClientError(Code.INVALID_ARGUMENT, "USAGE", f"{message.rstrip('.')}; see `{path} --help`"), as_json=as_json)
    return USAGE


def _unexpected(error: Exception, arguments: list[str]) -> ClientError:
    """Writes the traceback into the log of the state directory."""
    given = arguments[arguments.index("--dir") + 1 : arguments.index("--dir") + 2] if "--dir" in arguments else []
    log = state_dir_of(Path(given[0]) if given else None) / "logs" / "yard.log"
    text = "".join(traceback.format_exception(error))
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        mode = "a" if not log.exists() or log.stat().st_size < _LOG_LIMIT_BYTES else "w"
        with log.open(mode, encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC).isoformat()} {' '.join(arguments[:2])}\n{text}\n")
        where = f"the details are in {log}"
    except OSError:
        where = f"its log {log} cannot be written"
    return ClientError(Code.INTERNAL, Reason.INTERNAL.name, f"yard failed unexpectedly ({type(error).__name__}); {where}")


def _forget_stdout() -> None:
    """Whoever read stdout is gone: the interpreter must not try to flush it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
