"""Start the replay server: ``python -m include.replay --port 0 --home DIR``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from include.replay.recordings import Recordings
from include.replay.server import ReplayServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    secret = os.environ.get("REPLAY_API_SECRET")
    if not secret:
        print(
            "REPLAY_API_SECRET is not set: Nightscout and /replay/advance refuse every request.",
            file=sys.stderr,
        )
    end = options.end or datetime.now(UTC).date() - timedelta(days=1)
    recordings = Recordings.open(
        options.home, options.days, options.seed, end, options.login, moving=options.end is None
    )
    try:
        with ReplayServer(recordings, secret, options.port) as server:
            print(f"Replay server ready at {server.url}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.replay", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one (default)")
    parser.add_argument("--home", type=Path, required=True, help="folder of the recordings, made when missing")
    parser.add_argument("--days", type=_count, default=30, help="how many days there are (default 30)")
    parser.add_argument("--seed", type=int, default=7, help="another seed, another person (default 7)")
    parser.add_argument(
        "--end", type=date.fromisoformat, help="the last day (default: yesterday, UTC, and GitHub's events go on)"
    )
    parser.add_argument("--login", default="octo-phlo", help="the GitHub user (default octo-phlo)")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
