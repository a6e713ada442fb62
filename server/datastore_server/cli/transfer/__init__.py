"""`import` and `export`: entries from files and to files.

importing, exporting    the two commands
sources, targets        the bytes of a file: compression, encoding, pipes, devices, partial files
formats                 which format a file has
csv_dialect, csv_rows   CSV as records, and records as entries
json_rows               JSON Lines and JSON arrays
cells, inference        what the text of a cell stands for
templates               keys made from members
reading                 entries of a file, with what to do about rows that cannot be read
batches, importer       entries to a store, several calls at once
distinct                how many keys an import had
"""
