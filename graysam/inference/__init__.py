"""From slices and volumes with boxes to label maps, on any engine."""
