"""``phlo plugin``, and the command groups that plugins bring."""
