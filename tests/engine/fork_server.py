"""Starts commands of tools/ in forked processes, so that the libraries are imported once for many short trainings.

A line of JSON starts one: the words of the command, variables of the environment, the file for what it says, the folder to run
in; the answer is its process id. A line with such an id waits for the process; the answer is its status.
"""

import gc
import json
import os
import runpy
import signal
import sys
import traceback
from multiprocessing.util import _exit_function
from pathlib import Path

import mmdet.apis
import mmdet.datasets
import mmdet.models  # noqa: F401
import mmpretrain.apis
import mmpretrain.datasets
import mmpretrain.models  # noqa: F401
from yapf.yapflib import yapf_api

import menet_mm.engine.launch  # noqa: F401

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
# A short training would spend more on the looks of its config than on its iterations.
yapf_api.FormatCode = lambda text, **_: (text, True)


def run(words: list[str], env: dict[str, str], said: str, folder: str) -> None:
    os.setsid()
    os.chdir(folder)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(env)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.argv = words
    status = 1
    try:
        runpy.run_path(str(TOOLS / words[0]), run_name='__main__')
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        _exit_function()  # as at the end of an interpreter: ends the data loader's workers
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


gc.freeze()  # data sets collect garbage, and would look through all of the libraries in each process
print('ready', flush=True)
for line in sys.stdin:
    given = json.loads(line)
    if isinstance(given, int):
        answer = os.waitstatus_to_exitcode(os.waitpid(given, 0)[1])
    elif not (answer := os.fork()):
        run(*given)
    print(answer, flush=True)
os._exit(0)  # nothing is left to tidy up, and threads of the libraries may not end
