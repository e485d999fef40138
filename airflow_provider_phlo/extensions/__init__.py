"""
Plugins of installed packages, judged: which can be used and why not (:mod:`.states`), whether they keep what their kind
promises (:mod:`.trials`). Their code runs in processes of its own (:mod:`.apart`), never in this one.
"""
