"""
Pull requests of organisations: what GitHub has of them, and the tables that are made of it.

They are listed and divided into chunks, read with their reviews and files, and transformed (:mod:`.transform`) to the
four tables of :mod:`.models`.
"""
