"""Messages about incidents: to whom (:mod:`.notifying`), what they say (:mod:`.messages`), and how they are sent."""
