"""Tasks that log what logs may have: several lines, other bytes, controls, a failed try, mapped tasks, a long run."""

from __future__ import annotations

import logging
import sys
import time

from airflow.sdk import Asset, dag, task

log = logging.getLogger("talkative")


@dag(schedule=None)
def talkative():
    @task(retries=1, retry_delay=0, outlets=[Asset("talked")])
    def odd(**context):
        if context["ti"].try_number == 1:
            raise ValueError("the first try fails")
        context["outlet_events"][Asset("talked")].extra = {"rows": 5, "inserted": 2, "partition_date": "2024-01-15"}
        log.info("two\nlines")
        log.warning("%s", "\x1b[31mred\x1b[0m, a bell \x07 and half a letter \ud83d")
        sys.stdout.buffer.write(b"bytes \xff\xfe\n")
        sys.stdout.flush()

    @task
    def each(number):
        log.info("mapped %s", number)
        if number == 2:
            for second in range(3):
                log.info("second %s", second)
                time.sleep(1)
            log.error("the last word")

    odd() >> each.expand(number=[1, 2])


talkative()
