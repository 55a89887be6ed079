"""From Microsoft Graph's pages to committed tables.

Here: readers (which requests fill which tables, as few as possible), pages to Arrow, the
scheduling of many small reads, what counts as whole, and the run that puts it together. Not
here: the wire (`msgraph`), storage (`lake`), declarations (`tables`), orchestration.
"""
