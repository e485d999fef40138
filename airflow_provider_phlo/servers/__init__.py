"""Servers that answer in JSON: asked by one transport, within limits, and again where that helps."""
