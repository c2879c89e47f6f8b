"""What a run is judged by: silences, the server's life, the generator's health, the verdict."""
