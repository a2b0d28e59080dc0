"""The pure core: ids, statuses, queue settings, retry arithmetic, errors. No I/O and no clock."""
