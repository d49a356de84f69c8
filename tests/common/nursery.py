"""Runs of a project as children of one process that has imported it: a start costs no 4 seconds.

    python nursery.py <project>

reads one JSON line for each request and answers with one. A request is a list of runs that are
started at once: {"arguments": [...], "log": path, "scope": name of a function or "", "after": n}.
Such a run kills itself with SIGKILL at the n-th function call inside that function (anywhere, if
none is named); n = 0 lets it live, n = -1 does so without counting. The answer is, for each run,
its exit code as `subprocess` gives it and, if it lived, the number of calls within each of SCOPES.
What a run that lived had imported, the process imports too, so that the next one starts with it.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import config, progress

SCOPES = ("", "make_sample", "write_atomically")


def watch(scope: str, after: int) -> dict[str, int]:
    """Count the calls of Python and C functions in each scope, and die at the one asked for."""
    counts = dict.fromkeys(SCOPES, 0)
    depth = dict.fromkeys(SCOPES, 0)
    depth[""] = 1

    watched = (scope,) if after else SCOPES

    def note(frame, event, _):
        name = frame.f_code.co_name
        if name in depth:
            depth[name] += (event == "call") - (event == "return")
        if event in ("call", "c_call"):
            for each in watched:
                counts[each] += depth[each] > 0
            if counts[scope] == after:
                os.kill(os.getpid(), signal.SIGKILL)

    if after >= 0:
        sys.setprofile(note)
    return counts


def child(project, request: dict, answer: int) -> None:
    """One run, in a process of its own; writes its counts to the descriptor `answer`."""
    with open(request["log"], "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["train.py", *request["arguments"]]
    counts = watch(request["scope"], request["after"])
    code = 99
    try:
        config.cli(project.Config, project.main)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.setprofile(None)
    sys.stdout.flush()
    with open(answer, "w") as file:
        json.dump([counts, list(sys.modules)], file)
    os._exit(code)


def run(project, requests: list[dict]) -> list:
    """Start the runs at once and wait for all."""
    started = []
    for request in requests:
        reading, writing = os.pipe()
        number = os.fork()
        if number == 0:
            child(project, request, writing)
        os.close(writing)
        started.append((number, reading))
    answers = []
    for number, reading in started:
        with open(reading) as file:
            counts, modules = json.loads(file.read() or "[{}, []]")
        _, status = os.waitpid(number, 0)
        answers.append((os.waitstatus_to_exitcode(status), counts))
        for name in modules:
            with contextlib.suppress(Exception):  # names that only look like modules
                import_module(name)
    return answers


def main() -> None:
    project = import_module(f"{sys.argv[1]}.train")
    progress.SHARE_OF_SAVING = 1e9  # with --save-seconds 0, a checkpoint after every step
    if hasattr(project, "figures"):
        project.figures.draw = lambda *_: None  # plots would take most of the time
    for line in sys.stdin:
        print(json.dumps(run(project, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
