"""Programs that run inside the cage: they import nothing but the standard library, and nobody imports them."""
