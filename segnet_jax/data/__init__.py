"""From files to batches: data sets, class tables, augmentation, normalisation."""
