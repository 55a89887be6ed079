"""An independent answer to "who has what": the rules again, nothing shared with the product."""
