"""The ZKTeco protocol: frames, transports, commands, buffered reads, record layouts, decoding. No policy."""
