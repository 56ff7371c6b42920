"""Preference data: records, readers, filters, the cache, and the windows a run trains on."""
