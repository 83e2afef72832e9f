"""`make fuzz`: every parser of what strangers give the dataset service, fuzzed for so many seconds each; writes its part of docs/reliability.md.

A parser must answer or refuse: an exception that is no refusal, a crash, more than 10 s of CPU or 1 GiB of memory for one input, or counts that do not reconcile is a find. Finds are
made small and kept under .fuzz/PARSER/finds; `make fuzz-replay FILE=…` shows one. Two parsers run at once. The document is written once every parser
has been fuzzed for a minute or longer, by this command or earlier ones. Each run begins with the seeds (seeds.py) and the finds of earlier runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "services"), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "fuzz")]

import bounds  # noqa: E402 - the path comes first
from parsers import PARSERS  # noqa: E402 - likewise
from reliability import write_part  # noqa: E402 - likewise
from reporting import keep, kept, report  # noqa: E402 - likewise
from round import Fuzzing, Round  # noqa: E402 - likewise

FOLDER = ROOT / ".fuzz"
_WRITTEN_FROM_S = 60
_TICK_S = 10.0


def main() -> int:
    """Runs the command; exits with 1 where something was found, with 130 where it was stopped."""
    options = _options()
    if options.replay:
        return _replay(options.replay)
    names = options.parsers or list(PARSERS)
    FOLDER.mkdir(exist_ok=True)
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _interrupt)  # also where a shell that started it in the background had them ignored
    fuzzing, begun = Fuzzing(FOLDER), time.monotonic()
    at_once = options.at_once
    say(
        f"{len(names)} parsers, {options.seconds} s each, {at_once} at once: about {-(-len(names) // at_once) * (options.seconds + 15) // 60 + 1} minutes"
    )
    try:
        rounds = _run(fuzzing, names, options.seconds, at_once)
    except KeyboardInterrupt:
        fuzzing.stop()
        say("stopped; docs/reliability.md is as it was")
        return 130
    finally:
        fuzzing.close()
    all_rounds = kept(FOLDER, PARSERS)
    if options.seconds >= _WRITTEN_FROM_S and len(all_rounds) == len(PARSERS):
        write_part("make fuzz", report(all_rounds))
        say(f"docs/reliability.md was written, after {(time.monotonic() - begun) / 60:.0f} minutes")
    return 1 if any(done.finds for done in rounds) else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="how long each parser is fuzzed")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="how many parsers are fuzzed at once")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="shows what is wrong with an input that lies under .fuzz/PARSER")
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)}; all where none is named")
    options = parser.parse_args()
    if unknown := set(options.parsers) - set(PARSERS):
        parser.error(f"there is no parser {', '.join(sorted(unknown))}: they are {', '.join(PARSERS)}")
    if options.seconds < 1:
        parser.error("a parser is fuzzed for a second at least")
    if options.at_once < 1:
        parser.error("one parser at once, at least")
    return options


def _replay(file: Path) -> int:
    from judging import show

    path = file.resolve()
    name = next((folder.name for folder in path.parents if folder.name in PARSERS), None)
    if name is None or not path.is_file():
        say(f"{file} is no file under .fuzz/PARSER")
        return 2
    bounds.one_thread()
    verdict = show(PARSERS[name].run, path.read_bytes())
    say(f"{name}: {verdict or 'nothing is wrong'}")
    return 1 if verdict else 0


def _run(fuzzing: Fuzzing, names: Sequence[str], seconds: int, at_once: int) -> list[Round]:
    """All rounds, in the parsers' order; a line for each as it ends, and now and then one about those under way."""
    rounds: dict[str, Round] = {}
    under_way: set[str] = set()
    ended = threading.Event()

    def one(name: str) -> None:
        under_way.add(name)
        rounds[name] = done = fuzzing.run(name, seconds)
        under_way.discard(name)
        if seconds >= _WRITTEN_FROM_S:  # a quick look leaves nothing
            keep(FOLDER, done, at_once)
        _tell(done)

    watcher = threading.Thread(target=_watch, args=(fuzzing, under_way, ended), daemon=True)
    watcher.start()
    with ThreadPoolExecutor(at_once, "rounds") as pool:
        futures = [pool.submit(one, name) for name in names]
        try:
            for future in futures:
                future.result()
        except BaseException:
            fuzzing.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            ended.set()
    return [rounds[name] for name in names]


def _watch(fuzzing: Fuzzing, under_way: set[str], ended: threading.Event) -> None:
    """On a terminal, one line that is written over again and again."""
    while sys.stderr.isatty() and not ended.wait(_TICK_S):
        sys.stderr.write("\r\x1b[K" + "   ".join(f"{name} {fuzzing.executions(name):,}" for name in sorted(under_way)))
        sys.stderr.flush()


def _tell(done: Round) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    word = "FAIL" if done.finds else "OK  "
    sys.stderr.write(clear)
    say(
        f"{word} {done.parser:<12}{done.executions:>10,} executions {done.seconds:>5.0f} s {done.coverage:>6.1f} % of {done.whole:<5} {done.kept:>5} inputs kept  {len(done.finds)} finds"
    )
    for verdict, path in done.finds.items():
        say(f"     {verdict}: make fuzz-replay FILE={path.relative_to(ROOT)}")


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
