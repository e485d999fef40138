"""
``phlo init``: a project of one's own, made of the examples of this repository.

:mod:`.examples` says what belongs to each, :mod:`.contents` reads it, :mod:`.writing` puts it into a folder and leaves
alone what others have written there. :mod:`.plugins` does so for a package with a plugin.
"""
