"""Makes certificates, and explains what is wrong with them, for people. Servers and clients only read their files."""
