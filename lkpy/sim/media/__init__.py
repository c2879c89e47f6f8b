"""Valid media to publish: made once by an encoder, packetised once, cached on disk."""
