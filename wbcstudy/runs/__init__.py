"""What lies under outputs/<study>/: folders, results, locks."""
