"""Public test material: small crystals, laws and tolerances."""
