"""From a list of arguments to an exit code: 0 done, 2 a mistake that a message explains, 130 interrupted."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Sequence

from ..errors import ConfigError, PtagrpoError, did_you_mean
from .arguments import normalise


class Interrupted(Exception):
    """Ctrl-C came; the message says where the state is saved and how to go on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return the exit code.

    Errors of ours, of the arguments and of the operating system are told in one message without a traceback
    (`--debug` shows it); exit code 2. Anything else is a defect of ptagrpo and shows its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    import typer

    from .app import app, snake_case_flags
    from .summaries import summarise

    usage_errors = typer.BadParameter.__mro__[2]  # ClickException, of whichever click this typer carries
    try:
        command = summarise(snake_case_flags(typer.main.get_command(app)))
        _check_command(arguments, command.commands)
        result = command.main(args=normalise(arguments), prog_name="ptagrpo", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except usage_errors as error:
        error.show()
        return error.exit_code
    except Interrupted as error:
        return _interrupted(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted("")
    except BrokenPipeError:  # `ptagrpo ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (PtagrpoError, OSError, FloatingPointError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {_message(error)}", file=sys.stderr)
        return 2


def _check_command(arguments: Sequence[str], known: Iterable[str]) -> None:
    """Refuse an unknown command with a suggestion (typer's own came late and is not always there)."""
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    if name is not None and name not in known:
        raise ConfigError(
            f"there is no command '{name}'; there are {', '.join(known)}.{did_you_mean(name, known)}"
        )


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _interrupted(message: str) -> int:
    print(f"\ninterrupted{'. ' if message else ''}{message}", file=sys.stderr)
    return 130
