"""The simulated tabletop: an arm, coloured objects, composed language, experts, closed loop."""
