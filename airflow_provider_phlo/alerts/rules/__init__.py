"""
Alert rules: what is written (:mod:`.reading`), and what they find out themselves (:mod:`.evaluation`).

What they are about, and what was seen of it, is a verdict (:mod:`.verdicts`).
"""
