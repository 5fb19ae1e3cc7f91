#!/usr/bin/env python3
"""Attacks on the service, as strangers would make them. docs/reliability.md has the figures.

    main.py [--program FILE] [--long] [--pending] [--list] [CHECK...]

Run by tests/stages/60-abuse as root, in a mount namespace of its own. One line a check:
`abuse B1 what was tried ... ok (figures)`. The exit status is 1 if a check fails.
"""

import argparse
import gc
import sys
import time
import traceback

import checks
import world
from limits import NoLimits
from wire import CallError, Gone


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=world.REPOSITORY / "target/release/portraitd")
    parser.add_argument("--long", action="store_true", help="as many cycles, clients and seconds as the figures were made with")
    parser.add_argument("--pending", action="store_true", help="also the checks of findings that are not mended yet")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--trace", action="store_true", help="print where a check failed")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="B1, or B for all of a finding")
    arguments = parser.parse_args()
    known = checks.load()
    if arguments.list:
        for check in known:
            print(f"{check.name}\t{check.title}{' (pending)' if check.pending else ''}")
        return 0
    wanted = [check for check in known if not arguments.checks or check.name in arguments.checks or check.name.rstrip("0123456789") in arguments.checks]
    if not wanted:
        parser.error("no such check; --list names them")
    wanted = [check for check in wanted if arguments.pending or not check.pending or check.name in arguments.checks]
    place = world.World(arguments.program)
    failed = []
    begun = time.monotonic()
    try:
        for check in wanted:
            start = time.monotonic()
            verdict = run(check, place, arguments)
            print(f"abuse {check.name} {check.title} ... {verdict} [{time.monotonic() - start:.1f} s]", flush=True)
            if verdict.startswith("FAILED"):
                failed.append(check.name)
    finally:
        place.end()
    print(f"{len(wanted)} checks, {time.monotonic() - begun:.0f} s" + (f", failed: {' '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def run(check, place, arguments):
    context = checks.Context(place, arguments.long)
    try:
        if check.polkit and not place.has_polkit:
            return "SKIPPED: polkitd is not installed"
        if check.polkit and place.polkit.poll() is not None:
            place.start_polkit()
        figures = check.run(context) or ""
        context.finish()
        return f"ok ({figures})" if figures else "ok"
    except NoLimits as error:
        return f"SKIPPED: {error}"
    except world.Missing as error:
        return f"SKIPPED: {error}"
    except (world.Failed, CallError, Gone, TimeoutError, EOFError, OSError) as error:
        if arguments.trace:
            traceback.print_exc()
        # Most often what is missing is the service.
        cause = context.death()
        kind = "" if isinstance(error, world.Failed) else f"{type(error).__name__}: "
        return f"FAILED: {kind}{error}" + (f" ({cause})" if cause and cause not in str(error) else "")
    finally:
        context.close()
        gc.collect()


if __name__ == "__main__":
    sys.exit(main())
