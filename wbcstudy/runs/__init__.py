"""Files under outputs/<study>/: folders, results, locks, and the start of a run."""
