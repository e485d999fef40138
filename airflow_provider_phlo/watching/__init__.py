"""
Tables are watched although no run happens: facts (:mod:`.reading`) become verdicts (:mod:`.judging`), a round
(:mod:`.round`) hands them to alerts and writes down what has changed (:mod:`.recording`).
"""
