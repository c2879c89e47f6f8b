"""``lkpy room``: rooms, participants and tracks of any LiveKit server, through its API."""
