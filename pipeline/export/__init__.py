"""A label table in the formats that other tools read. `export.export` writes one; each format has its own file here."""
