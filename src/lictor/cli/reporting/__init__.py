"""The report drawn: one document of plain blocks, as HTML and as Markdown. Refuses to count."""
