"""The archive of finished runs: their rows leave the metadata database for Parquet files, and can come back."""
