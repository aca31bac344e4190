"""The protocol of terminals that push over HTTP (ADMS, iclock). No I/O, no storage."""
