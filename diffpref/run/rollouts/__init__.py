"""Online data: the policy's own samples, judged, in rounds."""
