"""What proves cgoom: pure tests by folder, `live/` on this host, `vm/` in a guest, `house/` on the source itself."""
