"""A suite is a list of named cases; each says what it did, and the last line counts them."""

import signal
import sys
import time
import traceback


class Wrong(AssertionError):
    """What was seen is not what is right."""


def expect(condition, text):
    if not condition:
        raise Wrong(text)


def equal(seen, right, what):
    if seen != right:
        raise Wrong(f"{what}: {shorten(seen)}, not {shorten(right)}")


def shorten(value, limit=300):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


class Suite:
    """Cases run in the order in which they were added; `Suite.main` is a script's last line."""

    def __init__(self, name):
        self.name = name
        self.cases = []
        self.cleanups = []

    def case(self, title):
        def add(function):
            self.cases.append((title, function))
            return function

        return add

    def finally_stop(self, process):
        """Registers something with a `stop` for the end of the suite."""
        self.cleanups.append(process)
        return process

    def main(self, setup=None):
        """Runs `setup`, which may add cases, then the cases whose titles hold the words given on the command line."""
        # Ended from outside, it still stops what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        words = [w for w in sys.argv[1:] if not w.startswith("-")]
        passed, failed = 0, []
        try:
            if setup is not None:
                setup()
            for title, function in self.cases:
                if words and not all(w in title for w in words):
                    continue
                started = time.monotonic()
                try:
                    detail = function()
                except KeyboardInterrupt:
                    raise
                except Exception as error:  # noqa: BLE001: a broken case is a failed one
                    failed.append(title)
                    print(f"FAIL {self.name}: {title}: {error}", flush=True)
                    if not isinstance(error, Wrong):
                        traceback.print_exc(limit=4, file=sys.stdout)
                    continue
                passed += 1
                spent = time.monotonic() - started
                print(f"ok   {self.name}: {title}{f' ({detail})' if detail else ''} [{spent:.1f} s]", flush=True)
        except Exception as error:  # noqa: BLE001
            failed.append("setup")
            print(f"FAIL {self.name}: setup: {error}", flush=True)
            traceback.print_exc(limit=4, file=sys.stdout)
        finally:
            for process in reversed(self.cleanups):
                process.stop()
        print(f"{self.name}: {passed} passed, {len(failed)} failed", flush=True)
        sys.exit(1 if failed else 0)
