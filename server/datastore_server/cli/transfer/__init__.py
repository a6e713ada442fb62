"""`import` and `export`: entries from files and to files.

importing, exporting    the two commands
sources, targets        the bytes of a file: compression, encoding, pipes, devices, partial files
formats                 which format a file has
csv_dialect, csv_rows   CSV as records, and records as entries
json_rows               JSON Lines and JSON arrays
cells, inference           what the text of a cell means
templates               keys made from members
reading                 entries of a file, and handling of rows that cannot be read
batches, importer       entries to a store, in concurrent calls
distinct                the number of different keys of an import
"""
